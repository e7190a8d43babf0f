"""Commands that read facilities and portfolios."""
