"""Acting step by step, with the memory of a recurrent policy carried along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kpg.export.client.client import Client
from kpg.types import Array, Nest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Player:
    """Asks for actions through whole episodes.

    A server keeps nothing between two requests: the state of a recurrent policy goes to
    the client and comes back with the next observations. A player takes care of that;
    for a policy without a memory it does the same as `Client.act`. It belongs to one
    thread and one batch of environments; several players can share a client.

    Example:
        same_step = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
        envs = gymnasium.make_vec("CartPole-v1", 4, "sync", vector_kwargs=same_step)
        player = kpg.export.Player(client)
        observations, _ = envs.reset()
        resets = numpy.ones(envs.num_envs, bool)
        while True:
            actions = player.act(observations, resets)
            observations, _, terminated, truncated, _ = envs.step(actions)
            resets = terminated | truncated

    Args:
        client: Connected to the server of the policy.
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
        """Returns the actions of the next step.

        Args:
            observations: As for `Client.act`; as many rows as in the previous step.
            resets: `[B]` booleans: where an episode begins with this observation, so
                that the policy has nothing to remember. Defaults to nowhere; the first
                step begins an episode in every row.
            seed: Draws the actions with it. Defaults to the most likely actions.

        Returns:
            Actions, as `Client.act` returns them.

        Raises:
            ServingError: If the server cannot be reached or refuses the request; the
                memory is then unchanged.
        """
        state = self._state
        if resets is not None:
            kept = ~np.asarray(resets, bool)[:, np.newaxis]
            state = {name: np.where(kept, part, 0) for name, part in state.items()}
        actions, self._state = self._client.step(observations, state, seed=seed)
        return actions

    def reset(self) -> None:
        """Forgets everything: the next step is the first of an episode in each row."""
        self._state = {}
