"""`python -m lb`: the same as the `lb` command."""

import sys

from lb.cli import main

if __name__ == "__main__":
    sys.exit(main())
