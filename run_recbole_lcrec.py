"""The command: trains and ranks models; see ``--help``. All of it is in :mod:`recbole_lcrec.quick_start`."""

import sys

from recbole_lcrec.quick_start import main

if __name__ == "__main__":
    sys.exit(main())
