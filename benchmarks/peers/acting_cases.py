"""What is asked of those who act by hand, and the clock; needs NumPy alone."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

ROW = np.array([0.01, -0.02, 0.03, 0.04], np.float32)
BATCH = 64
_CALLS, _TURNS = 1000, 7


def microseconds(act: Callable[[], object]) -> float:
    """Returns the CPU time of a call, in the quickest of some turns."""
    for _ in range(_CALLS // 5):
        act()
    turns = []
    for _ in range(_TURNS):
        start = time.process_time()
        for _ in range(_CALLS):
            act()
        turns.append(time.process_time() - start)
    return 1e6 * min(turns) / _CALLS
