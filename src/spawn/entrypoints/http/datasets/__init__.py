"""HTTP route of datasets: streamed files, and ranges of their bytes."""
