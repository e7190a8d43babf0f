"""The doors: settings, composition root, HTTP, command line."""
