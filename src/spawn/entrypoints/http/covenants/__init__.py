"""Cases, actuals, covenants and their tests over HTTP."""
