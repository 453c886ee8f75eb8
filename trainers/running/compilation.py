"""Whether XLA pays off, and how many iterations a compiled call runs."""

from __future__ import annotations

import tensorflow as tf

from kpg import checks

# Seconds that XLA takes longer to compile an iteration, and then saves in each gradient
# step and in each step of in-graph environments, measured with PPO on CartPole-v1 and
# MountainCar-v0. Slower processors scale all of them alike.
_COMPILING = 4.0
SAVED_BY_UPDATE = 0.3e-3
SAVED_BY_STEP = 0.17e-3

# Seconds of a call: long enough to cost nothing, short enough for a progress bar.
_CALL = 0.1


def pays_off(iterations: int, saved: float) -> bool:
    """Whether iterations that each save `saved` seconds make up for compiling."""
    return iterations * saved > _COMPILING


def checked_jit_compile(
    jit_compile: bool | str, strategy: tf.distribute.Strategy
) -> bool | str:
    """Returns a bool or "auto"; refuses all else, and True with several replicas."""
    jit_compile = checks.plain(jit_compile)
    replicas = strategy.num_replicas_in_sync
    if jit_compile not in (True, False, "auto") or (
        jit_compile is True and replicas > 1
    ):
        raise ValueError(
            "`jit_compile` must be True, False or 'auto', and not True under a "
            "strategy with several replicas, which XLA cannot compile. Received: "
            f"jit_compile={jit_compile!r}, {replicas} replicas"
        )
    return jit_compile


class Pace:
    """Chooses the iterations of each call: `fixed`, or a tenth of a second's worth.

    `quickest` are the seconds of an iteration in the call that was the fastest.
    """

    def __init__(self, fixed: int | None) -> None:
        self._fixed = fixed
        self.quickest = float("inf")

    def size(self, left: int) -> int:
        """Returns the iterations of the next call, at most `left`."""
        if self._fixed is not None:
            return min(self._fixed, left)
        return min(max(1, int(_CALL / self.quickest)), left)

    def add(self, seconds: float, iterations: int) -> None:
        """Learns from a call."""
        self.quickest = min(self.quickest, max(seconds, 1e-9) / iterations)
