"""What can be tried: mappings to import with, requests to send, a drill to watch."""
