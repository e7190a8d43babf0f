"""Fairness between clients: budgets of requests, shares of places, turns, and admission."""
