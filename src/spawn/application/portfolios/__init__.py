"""Use cases of portfolios, their holdings and exchange rates."""
