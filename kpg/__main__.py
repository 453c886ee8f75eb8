"""`python -m kpg` is `kpg`."""

from __future__ import annotations

import sys

from kpg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
