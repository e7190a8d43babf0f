"""The documents of the data product, generated from what rules now, and its page for people."""
