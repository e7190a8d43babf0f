"""HTTP routes of the data-product documents."""
