"""`python -m spawn.entrypoints.cli`."""

import sys

from spawn.entrypoints.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
