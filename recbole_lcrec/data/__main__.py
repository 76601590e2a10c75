"""``python -m recbole_lcrec.data``: the door to ``cli/data/``.

Knows where the command is. Refuses to know what it does.
"""

from __future__ import annotations

import sys

from recbole_lcrec.cli.data import main

if __name__ == "__main__":
    sys.exit(main())
