"""Portfolios: holdings, exchange rates, exposure, concentration and limits."""
