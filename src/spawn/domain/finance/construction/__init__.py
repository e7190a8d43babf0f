"""Construction funding: sources and uses by period, with one debt or several facilities."""
