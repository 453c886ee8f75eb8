"""Acting step by step, with the memory of a recurrent policy carried along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kpg import checks
from kpg.models.policy import Policy
from kpg.types import Array, Nest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Player:
    """Acts with a policy step by step, and carries what its memory knows.

    It belongs to one environment, or to one batch of them. `kpg.export.Player` is the
    same with a server.

    Args:
        policy: A `kpg.models.Policy`.
        deterministic: Whether to take the most likely actions instead of samples.
            Defaults to `True`.
        seed: Whole number from which all samples follow. Defaults to fresh ones, which
            follow `keras.utils.set_random_seed`.
    """

    def __init__(
        self, policy: Policy, deterministic: bool = True, seed: int | None = None
    ) -> None:
        self._act = policy.acting(deterministic)
        self._seed = checks.seed(seed)
        self._steps = 0
        self._state: tuple[Array, ...] | None = None

    def act(self, observations: Nest, resets: ArrayLike | None = None) -> Nest:
        """Returns the actions of the next step, as `Policy.act` does.

        Args:
            observations: As many as in the previous step.
            resets: `[B]` booleans, or one for a single observation: where an episode
                begins with it. Defaults to nowhere; the first step begins one in every
                row.

        Raises:
            ValueError: If the observations do not fit; the memory is then unchanged.
        """
        state = self._state
        if resets is not None and state is not None:
            kept = ~np.asarray(resets, bool)[..., np.newaxis]
            state = tuple(np.where(kept, part, np.float32(0)) for part in state)
        actions, self._state = self._act(observations, state, self._seed, self._steps)
        self._steps += 1
        return actions

    def reset(self) -> None:
        """Forgets everything: the next step begins an episode in each row."""
        self._state = None
