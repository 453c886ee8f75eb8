"""A compact PPO in JAX: the least that an iteration of PPO needs, as one program.

One optimizer, one loss, two tanh networks, environments in plain arithmetic. It has
nothing of what a library adds, and so says what the work itself takes. As in the
programs of PureJaxRL, a time limit counts as an end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from works import Control


class Task(NamedTuple):
    """An environment: how B copies start, what a step makes of them, its sizes."""

    start: Callable[[Any, int], Any]
    step: Callable[[Any, Any], tuple[Any, Any, Any]]
    features: int
    actions: int
    limit: int


def cart_pole() -> Task:
    """Returns the pole on the cart; see Gymnasium's CartPole-v1."""

    def start(key: Any, count: int) -> Any:
        return jax.random.uniform(key, (count, 4), minval=-0.05, maxval=0.05)

    def step(state: Any, action: Any) -> tuple[Any, Any, Any]:
        place, speed, angle, turn = state.T
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        push = (jnp.where(action == 1, 10.0, -10.0) + 0.05 * turn**2 * sine) / 1.1
        bend = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
        pull = push - 0.05 * bend * cosine / 1.1
        rates = jnp.stack([speed, pull, turn, bend], axis=1)
        state = state + 0.02 * rates
        fell = (jnp.abs(state[:, 0]) > 2.4) | (jnp.abs(state[:, 2]) > jnp.pi / 15)
        return state, jnp.ones_like(place), fell

    return Task(start, step, 4, 2, 500)


def mountain_car() -> Task:
    """Returns the car in the valley; see Gymnasium's MountainCar-v0."""

    def start(key: Any, count: int) -> Any:
        places = jax.random.uniform(key, (count,), minval=-0.6, maxval=-0.4)
        return jnp.stack([places, jnp.zeros(count)], axis=1)

    def step(state: Any, action: Any) -> tuple[Any, Any, Any]:
        place, speed = state.T
        speed += (action - 1) * 0.001 - 0.0025 * jnp.cos(3 * place)
        speed = jnp.clip(speed, -0.07, 0.07)
        place = jnp.clip(place + speed, -1.2, 0.6)
        speed = jnp.where((place <= -1.2) & (speed < 0), 0.0, speed)
        state = jnp.stack([place, speed], axis=1)
        return state, -jnp.ones_like(place), (place >= 0.5) & (speed >= 0)

    return Task(start, step, 2, 3, 200)


TASKS = {"CartPole-v1": cart_pole, "MountainCar-v0": mountain_car}


class Moments(NamedTuple):
    """How many rows were seen, their mean and their variance."""

    count: Any
    mean: Any
    variance: Any

    def merged(self, rows: Any) -> Moments:
        """Returns the moments of these `[N, D]` rows too (Chan et al., 1983)."""
        added, total = len(rows), self.count + len(rows)
        step = rows.mean(axis=0) - self.mean
        spread = self.variance * self.count + rows.var(axis=0) * added
        spread += step**2 * self.count * added / total
        return Moments(total, self.mean + step * added / total, spread / total)


class State(NamedTuple):
    """All that an iteration begins with and ends with."""

    weights: Any
    optimizer: Any
    states: Any
    lengths: Any
    returns: Any
    discounted: Any
    key: Any
    seen: Moments
    rewarded: Moments
    sums: Any  # of returns of the episodes that ended, and their number


class CompactPPO:
    """PPO on a task; `start` and `iterations` are for `jax.jit`."""

    def __init__(self, work: Control) -> None:
        self.work = work
        self.task = TASKS[work.env]()
        self.optimizer = optax.chain(
            optax.clip_by_global_norm(work.max_grad_norm),
            optax.adam(work.learning_rate, eps=1e-5),
        )

    def start(self, key: Any) -> State:
        """Returns the state before the first iteration."""
        task, work, count = self.task, self.work, self.work.num_envs
        keys = jax.random.split(key, 4)
        weights = (
            network(keys[0], (task.features, *work.hidden_units, task.actions), 0.01),
            network(keys[1], (task.features, *work.hidden_units, 1), 1.0),
        )
        zeros, few = jnp.zeros(count), jnp.float32(1e-4)
        return State(
            weights,
            self.optimizer.init(weights),
            task.start(keys[2], count),
            jnp.zeros(count, jnp.int32),
            zeros,
            zeros,
            keys[3],
            Moments(few, jnp.zeros(task.features), jnp.ones(task.features)),
            Moments(few, jnp.zeros(1), jnp.ones(1)),
            jnp.zeros(2),
        )

    def iterations(self, state: State, count: Any) -> State:
        """Runs `count` iterations; the sums are over them."""
        state = state._replace(sums=jnp.zeros(2))
        return jax.lax.fori_loop(0, count, lambda _, s: self.iteration(s), state)

    def iteration(self, state: State) -> State:
        """Collects once and learns from it."""
        key, acting, shuffling = jax.random.split(state.key, 3)
        state, rows, discounted = self.collect(state._replace(key=key), acting)
        if self.work.normalize:
            seen = state.seen.merged(rows["states"].reshape(-1, self.task.features))
            rewarded = state.rewarded.merged(discounted.reshape(-1, 1))
            rows["rewards"] /= jnp.sqrt(rewarded.variance[0] + 1e-8)
            state = state._replace(seen=seen, rewarded=rewarded)
        batch = self.estimated(state, rows)
        weights, optimizer = self.learned(state, batch, shuffling)
        return state._replace(weights=weights, optimizer=optimizer)

    def scaled(self, state: State, rows: Any) -> Any:
        """Returns observations as the networks see them."""
        if not self.work.normalize:
            return rows
        deviation = jnp.sqrt(state.seen.variance + 1e-8)
        return jnp.clip((rows - state.seen.mean) / deviation, -10, 10)

    def collect(self, state: State, key: Any) -> tuple[State, dict[str, Any], Any]:
        """Acts for T steps; returns rows of `[T, B, ...]` too."""
        task, work, begun = self.task, self.work, state

        def step(state: State, key: Any) -> tuple[State, tuple[dict[str, Any], Any]]:
            to_act, to_start = jax.random.split(key)
            seen = self.scaled(begun, state.states)
            log_probs = jax.nn.log_softmax(apply(state.weights[0], seen))
            actions = jax.random.categorical(to_act, log_probs)
            states, rewards, fell = task.step(state.states, actions)
            lengths, returns = state.lengths + 1, state.returns + rewards
            discounted = work.gamma * state.discounted + rewards
            ended = fell | (lengths >= task.limit)
            rows = {
                "states": state.states,
                "observations": seen,
                "actions": actions,
                "log_probs": chosen(log_probs, actions),
                "values": apply(state.weights[1], seen)[:, 0],
                "rewards": rewards,
                "ended": ended.astype(jnp.float32),
            }
            fresh = task.start(to_start, work.num_envs)
            state = state._replace(
                states=jnp.where(ended[:, None], fresh, states),
                lengths=jnp.where(ended, 0, lengths),
                returns=jnp.where(ended, 0.0, returns),
                discounted=jnp.where(ended, 0.0, discounted),
                sums=state.sums + jnp.stack([(ended * returns).sum(), ended.sum()]),
            )
            return state, (rows, discounted)

        keys = jax.random.split(key, work.num_steps)
        state, (rows, discounted) = jax.lax.scan(step, state, keys)
        return state, rows, discounted

    def estimated(self, state: State, rows: dict[str, Any]) -> dict[str, Any]:
        """Returns `[N, ...]` rows with advantages and targets."""
        work = self.work
        last = apply(state.weights[1], self.scaled(state, state.states))[:, 0]

        def back(carry: Any, row: Any) -> Any:
            advantage, following = carry
            rewards, values, ended = row
            goes_on = work.gamma * (1 - ended)
            advantage = (
                rewards + goes_on * (following + work.gae_lambda * advantage) - values
            )
            return (advantage, values), advantage

        named = (rows[name] for name in ("rewards", "values", "ended"))
        start = (jnp.zeros(work.num_envs), last)
        _, advantages = jax.lax.scan(back, start, tuple(named), reverse=True)
        batch = {
            "advantages": advantages,
            "targets": advantages + rows["values"],
            **{name: rows[name] for name in ("observations", "actions", "log_probs")},
        }
        return {
            name: values.reshape(work.rows, *values.shape[2:])
            for name, values in batch.items()
        }

    def learned(self, state: State, batch: dict[str, Any], key: Any) -> Any:
        """Takes all gradient steps; returns weights and the optimizer's state."""
        work = self.work

        def step(carry: Any, rows: dict[str, Any]) -> tuple[Any, None]:
            weights, optimizer = carry
            gradients = jax.grad(self.loss)(weights, rows)
            changes, optimizer = self.optimizer.update(gradients, optimizer)
            return (optax.apply_updates(weights, changes), optimizer), None

        def epoch(carry: Any, key: Any) -> tuple[Any, None]:
            order = jax.random.permutation(key, work.rows)
            parts = {
                name: rows[order].reshape(work.num_minibatches, -1, *rows.shape[1:])
                for name, rows in batch.items()
            }
            return jax.lax.scan(step, carry, parts)[0], None

        keys = jax.random.split(key, work.num_epochs)
        return jax.lax.scan(epoch, (state.weights, state.optimizer), keys)[0]

    def loss(self, weights: Any, rows: dict[str, Any]) -> Any:
        """Returns PPO's clipped loss, the critic's and the entropy bonus."""
        work = self.work
        log_probs = jax.nn.log_softmax(apply(weights[0], rows["observations"]))
        values = apply(weights[1], rows["observations"])[:, 0]
        advantages = rows["advantages"] - rows["advantages"].mean()
        advantages /= rows["advantages"].std() + 1e-8
        ratio = jnp.exp(chosen(log_probs, rows["actions"]) - rows["log_probs"])
        clipped = jnp.clip(ratio, 1 - work.clip_range, 1 + work.clip_range)
        surrogate = jnp.minimum(ratio * advantages, clipped * advantages).mean()
        entropy = -(jnp.exp(log_probs) * log_probs).sum(axis=1).mean()
        error = ((values - rows["targets"]) ** 2).mean()
        return 0.5 * error - surrogate - work.ent_coef * entropy


def network(key: Any, sizes: tuple[int, ...], last: float) -> list[tuple[Any, Any]]:
    """Draws kernels and biases of layers, the last with a gain of its own."""
    gains = [2**0.5] * (len(sizes) - 2) + [last]
    keys = jax.random.split(key, len(gains))
    return [
        (jax.nn.initializers.orthogonal(gain)(one, shape), jnp.zeros(shape[1]))
        for one, gain, shape in zip(
            keys, gains, zip(sizes, sizes[1:], strict=False), strict=True
        )
    ]


def apply(layers: list[tuple[Any, Any]], rows: Any) -> Any:
    """Returns what a network says about `[N, D]` rows."""
    for kernel, bias in layers[:-1]:
        rows = jnp.tanh(rows @ kernel + bias)
    kernel, bias = layers[-1]
    return rows @ kernel + bias


def chosen(log_probs: Any, actions: Any) -> Any:
    """Returns the `[N]` log-probabilities of actions."""
    return jnp.take_along_axis(log_probs, actions[:, None], axis=1)[:, 0]
