"""Governed schemas: their value, their check and their older dialects."""
