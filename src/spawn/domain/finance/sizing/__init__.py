"""Sizing of several facilities, the result of a sizing, and the return of its equity."""
