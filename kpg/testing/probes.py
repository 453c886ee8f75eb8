"""Tiny environments that tell which part of an algorithm is broken."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg import checks
from kpg.environments.graph.functional import FunctionalEnv, Rng
from kpg.testing.probe_spaces import ACTIONS as ACTIONS
from kpg.testing.probe_spaces import BLANK, Actions, Kinds, Observations, Take
from kpg.testing.probe_spaces import OBSERVATIONS as OBSERVATIONS
from kpg.types import Array, Nest, Tensor


class _Task(NamedTuple):
    """What an episode is: its steps, whether a bit is drawn, whether actions count."""

    steps: int
    random: bool = False
    acts: bool = False


_TASKS = {
    "value": _Task(1),
    "value_of_state": _Task(1, random=True),
    "discounting": _Task(2),
    "policy": _Task(1, acts=True),
    "policy_of_state": _Task(1, random=True, acts=True),
    "memory": _Task(4, random=True, acts=True),
    "truncation": _Task(1),
}
TASKS = tuple(_TASKS)


class Probe(FunctionalEnv):
    """An environment that needs one thing to be learned, and whose answers are known.

    The first task that is not learned names the part of an algorithm to look at:

    - `value`: one step, reward 1. The critic learns a constant.
    - `value_of_state`: one step, reward −1 or 1 as observed.
    - `discounting`: two steps, reward 1 at the end. The first is worth γ.
    - `policy`: one step, always the same action is right.
    - `policy_of_state`: the observation says which action is right.
    - `memory`: the first of four observations says which action is right at the last;
      the others are blank.
    - `truncation`: reward 1 at every step for ever, cut after eight. Each state is
      worth 1 / (1 − γ), if the cut is not taken for an end.

    Where actions count, each part of one (a `Discrete`, a component of another space)
    has a right choice: the bit in the first part, its opposite in the second, and so
    on in turns. The reward of the last step is the mean over the parts:

    - of a choice: 1 if it is right, 0 if it is the opposite, and ½ for a third choice;
    - of a number a: −((a − a*) / h)², where h is half the width of its range, and a* is
      at a quarter of it for a bit of 0 and at three quarters for 1.

    In a nest of observations the bit shows in one leaf, drawn for each episode, and
    the others are blank. States are indices `[B]` int32.

    Reference: Andy Jones (2021), "Debugging RL, without the agonizing pain",
    https://andyljones.com/posts/rl-debugging.html, for the first five tasks.

    Args:
        task: One of `TASKS`.
        observation: One of `OBSERVATIONS`, or a dict or tuple of them, nested. Defaults
            to "box". In the graph a text is its encoding; see `kpg.spaces`.
        action: One of `ACTIONS`, or a nest of them. Defaults to "discrete".
        masked: Whether observations are `{"action_mask": …, "observation": …}`, 1 for
            what is allowed, and half of the episodes forbid every right choice, which
            then earns −100. Defaults to `False`.

    Attributes:
        optimum: Expected undiscounted return of the best policy.
        states: `[N]` int32, all states that are not terminal.

    Raises:
        ValueError: If a task or kind is unknown, or a mask has nothing to forbid.
    """

    def __init__(
        self,
        task: str,
        observation: Kinds = "box",
        action: Kinds = "discrete",
        masked: bool = False,
    ) -> None:
        super().__init__()
        if task not in _TASKS:
            raise ValueError(f"`task` must be one of {TASKS}. Received: {task!r}")
        self.task, self.masked = task, masked
        self._task = _TASKS[task]
        self._actions, observations = Actions(action), Observations(observation)
        self.action_space = self._actions.space
        self.plain_observation_space = self.observation_space = observations.space
        if masked and not (self._actions.num_choices and self._task.acts):
            raise ValueError(
                "A mask needs choices that count; leave it out. Received: masked=True "
                f"with task={task!r} and action={action!r}"
            )
        if masked:
            self.observation_space = gym.spaces.Dict(
                action_mask=gym.spaces.MultiBinary(self._actions.num_choices),
                observation=observations.space,
            )
        endless = task == "truncation"
        if endless:
            self.max_episode_steps = 8
        self._enumerate(observations)
        self._stride = 0 if endless else self._starts
        firsts = self.values(0.0 if endless else 1.0)[: self._starts]
        self.optimum = float(firsts.mean()) * (self.max_episode_steps or 1)

    def _enumerate(self, observations: Observations) -> None:
        """Lists all states by step, bit, the leaf that shows it, and what is forbidden.

        The first `_starts` are those that begin episodes; adding `_starts` is a step.
        """
        task, leaves = self._task, observations.num_leaves
        axes = (task.steps + 1, 1 + task.random, leaves, 1 + self.masked)
        count, self._starts = int(np.prod(axes)), int(np.prod(axes[1:]))
        steps, bits, places, forbidden = np.unravel_index(np.arange(count), axes)
        if not task.random:
            bits = np.ones_like(steps)
        self.states = np.arange(count - self._starts, dtype=np.int32)
        self._bits: Array = bits.astype(np.float32)
        self._forbidden: Array = forbidden.astype(np.float32)
        last: Array = (steps == task.steps - 1).astype(np.float32)
        self._weights: Array = last * task.acts
        self._payments: Array = last * (0 if task.acts else 2 * self._bits - 1)
        hidden = (steps == task.steps) | ((self.task == "memory") & (steps > 0))
        symbols = np.where(hidden, BLANK, steps if self.task == "discounting" else bits)
        shown = places[:, np.newaxis] == np.arange(leaves)
        symbols = np.where(shown, symbols[:, np.newaxis], BLANK)
        self._masks = self._actions.masks(self._bits, self._forbidden)
        self._elements = observations.elements(symbols)
        self._observations = observations.encodings(symbols)
        if self.masked:
            shown = self._observations
            self._observations = {"action_mask": self._masks, "observation": shown}

    def values(self, discount: float) -> Array:
        """Returns the optimal value `[N]` of each of `states`.

        Where actions do not count, these are the values of every policy. Critics that
        see no mask, or have no memory, learn means. `truncation` needs a γ below 1.
        """
        best = self.best_actions()
        rewards = self._rewards(self.states, best, _take_on_host)
        values: Array = np.array(rewards, np.float64)
        if self.task == "truncation":
            if discount >= 1.0:
                checks.refuse(
                    "discount", "must be below 1: rewards never end", discount
                )
            return values / (1.0 - discount)
        values = values.reshape(self._task.steps, self._starts)
        for step in reversed(range(self._task.steps - 1)):
            values[step] += discount * values[step + 1]
        return values.reshape(-1)

    def best_actions(self) -> Nest:
        """Returns an optimal action for each of `states`, a nest of `[N, ...]`."""
        bits, forbidden = self._bits[self.states], self._forbidden[self.states]
        return self._actions.best(bits, forbidden)

    def _rewards(self, states: Nest, actions: Nest, take: Take) -> Nest:
        payments = take(self._payments, states)
        if not self._task.acts:
            return payments
        bits, forbidden = take(self._bits, states), take(self._forbidden, states)
        earned = self._actions.rewards(actions, bits, forbidden, take)
        return payments + take(self._weights, states) * earned

    def initial(self, rng: Rng) -> Tensor:
        """Draws first states `[B]` int32."""
        return rng.integers(0, self._starts)

    def transition(self, state: Tensor, action: Nest) -> Tensor:
        """Returns the states of the next step, whatever the action."""
        return tf.minimum(state + self._stride, len(self._bits) - 1)

    def observation(self, state: Tensor) -> Nest:
        """Returns a nest of `[B, ...]`; see `Probe`."""
        tables = self._observations
        return tf.nest.map_structure(lambda rows: _take_in_graph(rows, state), tables)

    def reward(self, state: Tensor, action: Nest, next_state: Tensor) -> Tensor:
        """Returns the rewards `[B]`; see `Probe`."""
        return self._rewards(state, action, _take_in_graph)

    def terminal(self, state: Tensor) -> Tensor:
        """Returns `[B]` bool, whether an episode is over."""
        return state >= len(self.states)


class ProbeEnv(gym.Env[Any, Any]):
    """A probe on the host, as an ordinary `gymnasium.Env`.

    With `mask_in_info` the mask of a masked probe is in `info["action_mask"]` alone.
    """

    def __init__(self, probe: Probe, mask_in_info: bool = False) -> None:
        if mask_in_info and not probe.masked:
            checks.refuse("mask_in_info", "needs a probe with masked=True", True)
        self.probe, self.mask_in_info = probe, mask_in_info
        self.action_space = probe.action_space
        self.observation_space = (
            probe.plain_observation_space if mask_in_info else probe.observation_space
        )
        self._state, self._count = 0, 0

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Nest, dict[str, Any]]:
        super().reset(seed=seed)
        self._state, self._count = int(self.np_random.integers(self.probe._starts)), 0
        return self._show()

    @override
    def step(self, action: Nest) -> tuple[Nest, float, bool, bool, dict[str, Any]]:
        probe = self.probe
        reward = float(probe._rewards(self._state, action, _take_on_host))
        self._state += probe._stride
        self._count += 1
        observation, info = self._show()
        terminated = self._state >= len(probe.states)
        truncated = self._count == probe.max_episode_steps
        return observation, reward, terminated, truncated, info

    def _show(self) -> tuple[Nest, dict[str, Any]]:
        observation = copy.deepcopy(self.probe._elements[self._state])
        mask = self.probe._masks[self._state].copy()
        if self.mask_in_info:
            return observation, {"action_mask": mask}
        if self.probe.masked:
            return {"action_mask": mask, "observation": observation}, {}
        return observation, {}


def _take_in_graph(table: Array, indices: Nest) -> Nest:
    return tf.gather(tf.constant(table), tf.cast(indices, tf.int32))


def _take_on_host(table: Array, indices: Nest) -> Nest:
    return table[np.asarray(indices, int)]
