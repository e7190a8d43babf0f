"""HTTP operations of portfolios and exchange rates."""
