"""Clock, ids and spool of this machine."""
