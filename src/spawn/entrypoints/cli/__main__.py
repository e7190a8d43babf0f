"""`python -m spawn.entrypoints.cli`."""

import sys

from spawn.entrypoints.cli.commands import main

sys.exit(main())
