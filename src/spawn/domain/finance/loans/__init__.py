"""Loans: terms, schedules, dated events, level payments and settlement in minor units."""
