"""Documents of the data product, generated from one snapshot."""
