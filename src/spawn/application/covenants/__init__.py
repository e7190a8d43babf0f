"""Use cases of cases, actuals, covenants and their tests."""
