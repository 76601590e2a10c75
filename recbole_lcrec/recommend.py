"""Entry point of ``python -m recbole_lcrec.recommend``.

Knows where the command is. Refuses to know what it does.
"""

from __future__ import annotations

import sys

from recbole_lcrec.cli.recommend import main

if __name__ == "__main__":
    sys.exit(main())
