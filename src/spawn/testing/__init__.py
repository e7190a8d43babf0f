"""Contract suites and builders for any adapter or domain test, ours or a third party's."""
