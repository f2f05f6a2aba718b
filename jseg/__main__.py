"""`python -m jseg`: the console command `jseg`."""

import sys

from jseg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
