"""Acting step by step, with the memory of a recurrent policy carried along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kpg.export.client.client import Client
from kpg.types import Array, Nest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Player:
    """Asks for actions through whole episodes, and keeps a recurrent policy's state.

    A server keeps nothing between two requests. For a policy without a memory a player
    does what `Client.act` does. It belongs to one thread and one batch of environments;
    several players can share a `client`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._state: dict[str, Array] = {}

    def act(
        self,
        observations: Nest,
        resets: ArrayLike | None = None,
        *,
        seed: int | None = None,
    ) -> Nest:
        """Returns the actions of the next step, as `Client.act` does.

        Args:
            observations: As for `Client.act`; as many rows as in the previous step.
            resets: `[B]` booleans, or one for a single observation: where an episode
                begins with it. Defaults to nowhere; the first step begins one in every
                row.
            seed: Draws the actions with it. Defaults to the most likely actions.

        Raises:
            ServingError: If the request fails; the memory is then unchanged.
        """
        state = self._state
        if resets is not None:
            kept = ~np.asarray(resets, bool)[..., np.newaxis]
            state = {name: np.where(kept, part, 0) for name, part in state.items()}
        actions, self._state = self._client.step(observations, state, seed=seed)
        return actions

    def reset(self) -> None:
        """Forgets everything: the next step is the first of an episode in each row."""
        self._state = {}
