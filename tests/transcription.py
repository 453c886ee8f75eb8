"""PPO once more, in NumPy's float64.

It is written from the papers, with the loops and sums that they have, and shares no
code with kpg. What is random it takes from the record of a run: the first weights, the
actions, what the world did, and the order of the minibatches. Gradients are central
differences of the loss, so that no derivation can be wrong in both.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from tests.world import (
    COPIES,
    EPSILON,
    ITERATIONS,
    LOGS,
    RATE,
    SETTINGS,
    STEPS,
    Array,
    Outcome,
    Rows,
    Run,
    trained,
)


class Models:
    """Policy and critic as functions of one vector of all weights, `[..., W]`."""

    def __init__(self, run: Run) -> None:
        weights = [*run.policy, *run.critic]
        self._shapes = [weight.shape for weight in weights]
        self._cuts = np.cumsum([weight.size for weight in weights])[:-1]
        self._of_policy = len(run.policy)
        self.split = int(self._cuts[self._of_policy - 1])
        self.start = np.concatenate([weight.ravel() for weight in weights])

    def _parts(self, theta: Array) -> list[Array]:
        parts = np.split(theta, self._cuts, axis=-1)
        pairs = zip(parts, self._shapes, strict=True)
        return [part.reshape(*theta.shape[:-1], *shape) for part, shape in pairs]

    def _network(self, rows: Array, layers: list[Array]) -> Array:
        kernel, bias, head, last = layers
        hidden = np.tanh(rows @ kernel + bias[..., np.newaxis, :])
        return hidden @ head + last[..., np.newaxis, :]

    def values(self, theta: Array, rows: Array) -> Array:
        """Returns V, `[..., N]`, of rows `[N, 2]`."""
        return self._network(rows, self._parts(theta)[self._of_policy :])[..., 0]

    def log_probs(
        self, theta: Array, rows: Array, actions: Array
    ) -> tuple[Array, Array]:
        """Returns log π(a|s) and the entropies, `[..., N]`, in nats."""
        parts = self._parts(theta)[: self._of_policy]
        outputs = self._network(rows, parts[:4])
        if len(parts) == 5:
            log_std = parts[4][..., np.newaxis, :]
            scores = (actions - outputs) / np.exp(log_std)
            constant = 0.5 * np.log(2.0 * np.pi)
            logs = (-0.5 * scores**2 - log_std - constant)[..., 0]
            return logs, (log_std + constant + 0.5)[..., 0] + 0.0 * logs
        logs = outputs - np.log(np.exp(outputs).sum(-1, keepdims=True))
        taken = logs[..., np.arange(len(rows)), actions]
        return taken, -(np.exp(logs) * logs).sum(-1)


class Adam:
    """Kingma and Ba (2015), in the form with ε̂ at the end of section 2."""

    def __init__(self, size: int) -> None:
        self.first, self.second = np.zeros(size), np.zeros(size)
        self.steps = 0

    def step(self, gradient: Array, rate: float) -> Array:
        """Returns what to subtract."""
        self.steps += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        rate *= np.sqrt(1.0 - 0.999**self.steps) / (1.0 - 0.9**self.steps)
        return rate * self.first / (np.sqrt(self.second) + EPSILON)


@dataclasses.dataclass
class Transcription:
    """PPO, Schulman et al. (2017), with GAE and what kpg documents around them.

    The options are right as they are; each, changed, makes a mutant.

    Attributes:
        run: What is transcribed.
        everywhere: Where rows count although they are not valid.
        ahead: By how many iterations the schedules are ahead.
        tolerated: How many times the target the divergence may be.
        stops: "before" the step that is too far, "after" it, or only the "epoch".
        looks: When the observations' moments follow: "after" the updates, or "before".
        bound: Whether rewards are bounded "after" or "before" they are divided.
        traces: What ends a discounted return: "episodes", "nothing", or "fragments".
        centred: Whether the mean of the returns is subtracted from rewards.
        remembers: Whether moments are of all iterations.
        constant: Settings whose schedule is ignored.
        clips: What the gradient's norm is of: "all" weights, or "each" one.
        standardised: Advantages in a "minibatch", or in the whole "fragment".
        centre: What values are clipped around: those of "acting", or the "targets".
        cut: Whether a truncation counts as a termination.
    """

    run: Run
    everywhere: tuple[str, ...] = ()
    ahead: int = 0
    tolerated: float = 1.5
    stops: str = "before"
    looks: str = "after"
    bound: str = "after"
    traces: str = "episodes"
    centred: bool = False
    remembers: bool = True
    constant: tuple[str, ...] = ()
    clips: str = "all"
    standardised: str = "minibatch"
    centre: str = "acting"
    cut: bool = False

    def __post_init__(self) -> None:
        self.models = Models(self.run)
        self.theta = self.models.start.astype(np.float64)
        self.adam = Adam(self.theta.size)
        self.watched: list[Array] = []
        self.totals: list[Array] = []
        self.total, self.earned = np.zeros(COPIES), np.zeros(COPIES)
        self.taken = np.zeros(COPIES)
        self.met: set[str] = set()

    def outcome(self) -> Outcome:
        """Runs all iterations."""
        kept: list[list[Array]] = [[], [], [], []]
        logs = []
        pairs = zip(self.run.fragments, self.run.orders, strict=True)
        for index, (rows, orders) in enumerate(pairs):
            logs.append(self.iteration(rows, orders, (index + self.ahead) / ITERATIONS))
            parts = (
                self.theta[: self.models.split],
                self.theta[self.models.split :],
                np.concatenate(moments(self.watched)),
                np.stack(moments(self.totals)),
            )
            for all_of, part in zip(kept, parts, strict=True):
                all_of.append(part)
        named = {name: np.array([log[name] for log in logs]) for name in LOGS}
        policies, critics, observed, returns = kept
        return Outcome(policies, critics, observed, returns, named, frozenset(self.met))

    def iteration(self, rows: Rows, orders: Array, progress: float) -> dict[str, float]:
        """Learns from one fragment; returns its logs."""
        if "before" in self.looks:
            self.follow(rows)
        bounds = moments(self.watched) if self.watched else (0.0, 1.0)
        seen, following = (
            self.scaled(part, bounds)
            for part in (rows.observations, rows.next_observations)
        )
        batch = self.estimated(rows, seen, following)
        log = self.updated(batch, orders, progress)
        if "after" in self.looks:
            self.follow(rows)
        return {**log, **self.episodes(rows)}

    def counts(self, rows: Rows, what: str) -> Array:
        """Returns which rows count, `[T, B]`."""
        return rows.valid | (what in self.everywhere)

    def follow(self, rows: Rows) -> None:
        """Adds the observations to those that were seen."""
        new = rows.observations[self.counts(rows, "observations")].astype(np.float64)
        self.watched = [*self.watched, new] if self.remembers else [new]

    def scaled(self, part: Array, bounds: tuple[Array, Array]) -> Array:
        mean, variance = bounds
        if not self.watched:
            return part.astype(np.float64)
        scores = (part - mean) / np.sqrt(variance + 1e-8)
        self.note("an observation beyond 10", np.abs(scores).max() > 10.0)
        return np.clip(scores, -10.0, 10.0)

    def rewards(self, rows: Rows) -> Array:
        """Divides rewards by the deviation of the discounted return so far."""
        rewards = rows.rewards.astype(np.float64)
        self.note("a reward beyond 10", np.abs(rewards).max() > 10.0)
        if self.bound == "before":
            rewards = np.clip(rewards, -10.0, 10.0)
        if self.traces == "fragments":
            self.total = np.zeros(COPIES)
        totals = np.zeros(rewards.shape)
        for time, (reward, ended) in enumerate(zip(rewards, rows.ended, strict=True)):
            self.total = totals[time] = SETTINGS["gamma"] * self.total + reward
            if self.traces != "nothing":
                self.total = np.where(ended, 0.0, self.total)
        counted = totals[self.counts(rows, "returns")]
        self.totals = [*self.totals, counted] if self.remembers else [counted]
        mean, variance = moments(self.totals)
        scaled = (rewards - mean * self.centred) / np.sqrt(variance + 1e-8)
        if self.bound == "before":
            return scaled
        self.note("a scaled reward beyond 10", np.abs(scaled).max() > 10.0)
        return np.clip(scaled, -10.0, 10.0)

    def estimated(self, rows: Rows, seen: Array, following: Array) -> dict[str, Array]:
        """Returns what minibatches are taken from, `[T · B, ...]`, time first."""
        rewards = self.rewards(rows)
        values = self.models.values(self.theta, seen)
        next_values = self.models.values(self.theta, following)
        over = rows.ended if self.cut else rows.terminated
        deltas = rewards + SETTINGS["gamma"] * ~over * next_values - values
        decay = SETTINGS["gamma"] * SETTINGS["gae_lambda"]
        gains = np.zeros(deltas.shape)
        for start in range(STEPS):
            for copy in range(COPIES):
                for time in range(start, STEPS):
                    weight = decay ** (time - start)
                    gains[start, copy] += weight * deltas[time, copy]
                    if rows.ended[time, copy]:
                        break
        self.note("a termination", rows.terminated.any())
        self.note("a truncation", rows.truncated.any())
        self.note("a row that is no step", not rows.valid.all())
        batch = {
            "seen": seen,
            "actions": rows.actions,
            "gains": gains,
            "targets": gains + values,
            "values": values,
            "valid": rows.valid,
        }
        batch = {name: np.concatenate(part) for name, part in batch.items()}
        logs, _ = self.models.log_probs(self.theta, batch["seen"], batch["actions"])
        return {**batch, "logs": logs}

    def updated(
        self, batch: dict[str, Array], orders: Array, progress: float
    ) -> dict[str, float]:
        """Takes the gradient steps; returns the logs."""
        left = {
            name: 1.0 if name in self.constant else 1.0 - progress
            for name in ("rate", "clip", "bonus")
        }
        looked = []
        stopped, per_epoch = False, COPIES * STEPS // SETTINGS["minibatch_size"]
        for index, order in enumerate(orders):
            if stopped and (self.stops != "epoch" or index % per_epoch):
                continue
            rows = {name: part[order] for name, part in batch.items()}
            among = batch if self.standardised == "fragment" else rows
            rows["gains"] = self.standard(rows["gains"], among)
            loss = functools.partial(self.loss, rows=rows, left=left)
            parts = loss(self.theta)
            looked.append(parts)
            kl = parts["divergence"] / SETTINGS["target_kl"]
            stopped = kl > self.tolerated
            self.note("a stop", stopped)
            self.note("a divergence just tolerated", 1.0 < kl < 1.5)
            if stopped and self.stops != "after":
                continue
            gradient = self.bounded(slope(loss, self.theta))
            self.theta = self.theta - self.adam.step(gradient, RATE * left["rate"])
        names = LOGS[: LOGS.index("kl")]
        log = {
            name: float(np.mean([parts[name] for parts in looked])) for name in names
        }
        return {**log, "learning_rate": RATE * left["rate"], **self.afterwards(batch)}

    def standard(self, gains: Array, among: dict[str, Array]) -> Array:
        """Centres and scales advantages among those that count."""
        known = among["gains"][among["valid"] | ("advantages" in self.everywhere)]
        return (gains - known.mean()) / (known.std() + 1e-8)

    def loss(
        self, theta: Array, rows: dict[str, Array], left: dict[str, float]
    ) -> dict[str, Array]:
        """Returns the loss and its parts, `[...]`, for weights `[..., W]`."""
        valid = rows["valid"] | ("losses" in self.everywhere)

        def mean(terms: Array) -> Array:
            return (terms * valid).sum(-1) / valid.sum()

        logs, entropies = self.models.log_probs(theta, rows["seen"], rows["actions"])
        moves = logs - rows["logs"]
        ratios, clip = np.exp(moves), SETTINGS["clip_range"] * left["clip"]
        near = np.clip(ratios, 1.0 - clip, 1.0 + clip)
        gains = np.minimum(ratios * rows["gains"], near * rows["gains"])
        values, bound = (
            self.models.values(theta, rows["seen"]),
            SETTINGS["value_clip_range"],
        )
        centre = rows["values" if self.centre == "acting" else "targets"]
        close = centre + np.clip(values - centre, -bound, bound)
        errors = np.maximum(
            (values - rows["targets"]) ** 2, (close - rows["targets"]) ** 2
        )
        entropy, policy, value = mean(entropies), -mean(gains), 0.5 * mean(errors)
        bonus = SETTINGS["ent_coef"] * left["bonus"]
        self.note("a clipped ratio", (near != ratios)[..., valid].any())
        self.note("a clipped value", (close != values)[..., valid].any())
        kl = mean(ratios - 1.0 - moves)
        every = (ratios - 1.0 - moves).mean(-1)
        return {
            "loss": policy + SETTINGS["vf_coef"] * value - bonus * entropy,
            "policy_loss": policy,
            "value_loss": value,
            "entropy": entropy,
            "approx_kl": kl,
            "clip_fraction": mean(np.abs(ratios - 1.0) > clip),
            "divergence": every if "stop" in self.everywhere else kl,
        }

    def bounded(self, gradient: Array) -> Array:
        bound = SETTINGS["max_grad_norm"]
        if self.clips == "each":
            return np.clip(gradient, -bound, bound)
        norm = np.sqrt((gradient**2).sum())
        self.note("a long gradient", norm > bound)
        self.note("a short gradient", norm < bound)
        return gradient * min(1.0, bound / norm)

    def afterwards(self, batch: dict[str, Array]) -> dict[str, float]:
        """Returns what is measured over all rows after the updates."""
        rows = batch["seen"], batch["actions"]
        moves = self.models.log_probs(self.theta, *rows)[0] - batch["logs"]
        counted = batch["valid"] | ("kl" in self.everywhere)
        gained = batch["gains"][batch["valid"] | ("gain" in self.everywhere)]
        valid = batch["valid"] | ("variance" in self.everywhere)
        targets, values = batch["targets"][valid], batch["values"][valid]
        return {
            "kl": (np.exp(moves) - 1.0 - moves)[counted].mean(),
            "gain": gained.mean(),
            "explained_variance": 1.0 - (targets - values).var() / targets.var(),
        }

    def episodes(self, rows: Rows) -> dict[str, float]:
        """Returns the mean return and length of the episodes that ended."""
        returns, lengths = [], []
        for time in range(STEPS):
            self.earned += rows.rewards[time] * rows.valid[time]
            self.taken += self.counts(rows, "lengths")[time]
            ended = rows.ended[time]
            returns += self.earned[ended].tolist()
            lengths += self.taken[ended].tolist()
            self.earned[ended] = self.taken[ended] = 0.0
        return {
            "return": float(np.mean(returns)),
            "length": float(np.mean(lengths)),
            "episodes": len(returns),
        }

    def note(self, what: str, happened: Any) -> None:
        if happened:
            self.met.add(what)


def moments(parts: list[Array]) -> tuple[Array, Array]:
    """Returns the mean and the variance of all rows of all parts."""
    rows = np.concatenate(parts)
    return rows.mean(0), rows.var(0)


def slope(loss: Any, theta: Array, step: float = 1e-6) -> Array:
    """Returns the gradient of a loss by central differences."""
    moves = step * np.eye(theta.size)
    up, down = (loss(theta + way * moves)["loss"] for way in (1.0, -1.0))
    return (up - down) / (2.0 * step)


def transcribed(place: str, **options: Any) -> Outcome:
    """Returns what a run should have led to; see `Transcription` for the options."""
    return Transcription(trained(place), **options).outcome()


def alike(one: Outcome, other: Outcome, *names: str) -> None:
    """Compares parts of two outcomes by name, those of the logs included."""
    for name in names:
        found, expected = (
            run.logs[name] if name in LOGS else np.array(getattr(run, name))
            for run in (one, other)
        )
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=5e-5, err_msg=name)
