"""Financing of projects: facilities, portfolios, covenants and approvals."""
