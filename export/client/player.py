"""Acting step by step, with the memory of a recurrent policy carried along."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kpg.export.client.client import Client


class Player:
    """Asks for actions through whole episodes.

    A server keeps nothing between two requests: what a recurrent policy remembers goes
    to the client and comes back with the next observations. A player does that; for a
    policy without a memory it is the same as `Client.act`. It belongs to one thread and
    to one batch of environments; several can share a client.

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
        client: Connected to the server that has the policy.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._state: dict[str, Any] = {}

    def act(
        self,
        observations: Any,
        resets: npt.ArrayLike | None = None,
        *,
        seed: int | None = None,
    ) -> Any:
        """Returns the actions of the next step.

        Args:
            observations: As for `Client.act`; as many rows as in the step before.
            resets: `[B]` booleans: where an episode begins with this observation, so
                that the policy has nothing to remember. Defaults to nowhere; the first
                step is a beginning for all rows.
            seed: Draws the actions with it, in place of the most likely ones.

        Returns:
            Actions, as `Client.act` returns them.

        Raises:
            ServingError: If the server cannot be reached or refuses the request; the
                memory is then as before.
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
