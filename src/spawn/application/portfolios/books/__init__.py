"""Books of portfolios: what each held on a day, as recorded at an instant."""
