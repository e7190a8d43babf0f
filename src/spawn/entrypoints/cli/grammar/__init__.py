"""Grammar of the command line: parser, completion, output on a terminal."""
