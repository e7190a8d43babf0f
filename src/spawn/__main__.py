"""`python -m spawn`: the command line."""

import sys

from spawn.entrypoints.cli import main

if __name__ == "__main__":
    sys.exit(main())
