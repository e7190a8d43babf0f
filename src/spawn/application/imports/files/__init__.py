"""Records of uploaded files: text, CSV, NDJSON, XML, groups of rows."""
