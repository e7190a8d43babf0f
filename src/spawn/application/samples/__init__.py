"""The sample portfolio: financing, cases, covenants and holdings of the sample projects."""
