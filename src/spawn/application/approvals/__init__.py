"""Approvals: commands that wait for the decision of another person."""
