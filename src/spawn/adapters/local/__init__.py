"""Clock, ids and upload spool of the local machine."""
