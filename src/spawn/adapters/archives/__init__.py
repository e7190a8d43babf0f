"""Places of backups: a folder, or a bucket of an object store."""
