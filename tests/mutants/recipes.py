"""Losses of language models as their papers have them, and how they go wrong.

All are functions of the `[T, N]` log-probabilities of the tokens of some texts, a
minibatch that cuts groups. A paper's formula is written in loops, in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kpg
from kpg.advantages.estimator import Estimates
from kpg.trainers import recipes
from kpg.trainers.learning.batches import Batch
from kpg.trainers.learning.objective import PolicyObjective
from tests.languages import language
from tests.mutants.subject import Array, Implementation, Subject, close, gradient

T, GROUP = 4, 4
LENGTHS = np.array([4, 1, 3, 2, 4, 4, 2, 1])
# The texts as long as can be end, but for those that were cut.
CUT = np.array([True, False, False, False, False, True, False, False])
MINIBATCH = [0, 1, 2, 4, 6]
VALID = np.arange(T)[:, np.newaxis] < LENGTHS
_RANDOM = np.random.default_rng(3)
REWARDS = _RANDOM.normal(size=8)
OLD = np.where(VALID, _RANDOM.uniform(-2.0, -0.5, VALID.shape), 0.0)
NEW = np.where(VALID, OLD + _RANDOM.normal(0.0, 0.3, VALID.shape), 0.0)


def standardised(index: int) -> float:
    group = REWARDS[index // GROUP * GROUP :][:GROUP]
    return float((REWARDS[index] - np.mean(group)) / (np.std(group) + 1e-4))


# A token between the two ranges' lower ends, where only one of them acts.
_BAD = next(i for i in MINIBATCH if not CUT[i] and standardised(i) < 0.0)
NEW[0, _BAD] = OLD[0, _BAD] + np.log(0.76)
# Tokens that move by more than whole texts, whose ratios are between both ends.
_SPREAD = 0.03 * (NEW - OLD)
_MEAN = np.where([standardised(i) > 0.0 for i in range(8)], 3.5e-4, -2e-4)
NEAR = np.where(VALID, OLD + _SPREAD - _SPREAD.sum(0) / LENGTHS + _MEAN, 0.0)


def centred(index: int) -> float:
    return float(REWARDS[index] - np.mean(REWARDS[index // GROUP * GROUP :][:GROUP]))


def against_others(index: int) -> float:
    first = index // GROUP * GROUP
    others = [REWARDS[j] for j in range(first, first + GROUP) if j != index]
    return float(REWARDS[index] - np.mean(others))


def term(ratio: float, advantage: float, low: float, high: float) -> float:
    clipped = min(max(ratio, 1 - low), 1 + high)
    return min(ratio * advantage, clipped * advantage)


def terms(
    new: Array, index: int, advantage: float, low: float = 0.2, high: float = 0.2
) -> list[float]:
    """Returns those of each token of a text."""
    ratios = np.exp(new[:, index] - OLD[:, index])[: LENGTHS[index]]
    return [term(ratio, advantage, low, high) for ratio in ratios]


def grpo(new: Array) -> float:
    found = [float(np.mean(terms(new, i, standardised(i)))) for i in MINIBATCH]
    return -float(np.mean(found))


def dr_grpo(new: Array) -> float:
    found = [np.sum(terms(new, i, centred(i))) / T for i in MINIBATCH]
    return -float(np.mean(found))


def dapo(new: Array) -> float:
    found: list[float] = []
    for i in MINIBATCH:
        if not CUT[i]:
            found += terms(new, i, standardised(i), 0.2, 0.28)
    return -sum(found) / len(found)


def gspo(new: Array) -> float:
    found = []
    for i in MINIBATCH:
        whole = np.prod(np.exp(new[:, i] - OLD[:, i])[: LENGTHS[i]])
        ratio = whole ** (1 / LENGTHS[i])
        found.append(term(ratio, standardised(i), 3e-4, 4e-4))
    return -float(np.mean(found))


def rloo(new: Array) -> float:
    """On the texts as they were written: A · log π, per token that there may be."""
    found = [np.sum(new[: LENGTHS[i], i]) * against_others(i) / T for i in MINIBATCH]
    return -float(np.mean(found))


@cache
def trainer(name: str) -> Any:
    """Returns what a recipe makes, with a policy that reads sequences."""
    env = language(8)
    spaces = (env.observation_space, env.action_space)
    memory = kpg.models.GRU(2)
    policy = kpg.models.Policy(*spaces, hidden_units=(), memory=memory, seed=0)
    sizes: dict[str, Any] = {"num_steps": T, "group_size": GROUP}
    made = getattr(recipes, name)(policy, 0, **sizes)
    made.compile(keras.optimizers.SGD(1.0), jit_compile=False)
    return made


def shipped(name: str, new: tf.Tensor, old: Array = OLD) -> tf.Tensor:
    """Returns the loss of what `kpg.trainers.recipes` makes."""
    made = trainer(name)
    last = np.arange(T)[:, np.newaxis] == LENGTHS - 1
    zeros = tf.zeros(VALID.shape)
    gains = made.estimate(
        Estimates(
            rewards=tf.constant(np.where(last, REWARDS, 0.0), tf.float32),
            values=zeros,
            next_values=zeros,
            terminated=tf.constant(last),
            truncated=tf.constant(last & CUT),
            valid=tf.constant(VALID),
        )
    )
    fields = {
        "log_probs": old,
        "valid": VALID if gains.learned is None else gains.learned,
        "advantages": gains.advantages,
        "weights": gains.weights,
        "episodes": gains.episodes,
    }
    taken = {
        key: None if rows is None else tf.gather(rows, MINIBATCH, axis=1)
        for key, rows in fields.items()
    }
    taken["log_probs"] = tf.cast(taken["log_probs"], tf.float32)
    rows = Batch(None, None, values=zeros, resets=None, states=(), **taken)
    objective = PolicyObjective(made.training_on(8))
    rows = objective.standardised(rows, tf.constant(1.0))
    log_probs = tf.gather(tf.cast(new, tf.float32), MINIBATCH, axis=1)
    return made.policy_loss(log_probs, rows, tf.zeros([]))[0]


def mean(of: Array, weights: Array, divisor: float) -> tf.Tensor:
    return tf.reduce_sum(of * tf.constant(weights, tf.float32)) / divisor


def by_texts(valid: Array) -> tuple[Array, float]:
    return valid / LENGTHS, valid.any(axis=0).sum()


def by_tokens(valid: Array) -> tuple[Array, float]:
    return valid, valid.sum()


def by_room(valid: Array) -> tuple[Array, float]:
    return valid, T * valid.any(axis=0).sum()


def right(
    new: tf.Tensor,
    advantage: Callable[[int], float] = standardised,
    divided: Callable[[Array], tuple[Array, float]] = by_texts,
    low: float = 0.2,
    high: float = 0.2,
    whole: bool = False,
    by_length: bool = True,
    masked: bool = False,
    batch: bool = False,
) -> tf.Tensor:
    """Every recipe again; each option, changed, makes a mutant of it."""
    valid = VALID & ~CUT if masked else VALID
    own = np.isin(np.arange(8), MINIBATCH) | batch
    logs = tf.where(VALID, tf.cast(new, tf.float32) - tf.constant(OLD, tf.float32), 0.0)
    if whole:
        total = tf.reduce_sum(logs, axis=0, keepdims=True)
        logs = total / LENGTHS if by_length else total
        logs = tf.broadcast_to(logs, VALID.shape)
    ratios, gains = tf.exp(logs), np.array([advantage(i) for i in range(8)])
    clipped = tf.clip_by_value(ratios, 1.0 - low, 1.0 + high)
    found = tf.minimum(ratios * gains, clipped * gains)
    divisor = divided(valid & own)[1]
    return -mean(found, divided(valid & np.isin(np.arange(8), MINIBATCH))[0], divisor)


def of_paper(
    name: str,
    paper: Callable[[Array], float],
    own: Implementation,
    mutants: dict[str, dict[str, Any]],
    at: Array = NEW,
) -> Subject:
    """Returns a subject that a paper's formula defines, by value and by gradient."""

    def loss_is_that_of_the_paper(loss: Implementation) -> None:
        close(loss(tf.constant(at, tf.float32)), paper(at), 1e-5)

    def gradient_is_that_of_the_paper(loss: Implementation) -> None:
        expected = np.zeros(at.shape)
        for place in np.ndindex(*at.shape):
            step = np.zeros(at.shape)
            step[place] = 1e-6
            expected[place] = (paper(at + step) - paper(at - step)) / 2e-6
        close(gradient(loss, at), expected, 1e-4)

    value, slope = loss_is_that_of_the_paper, gradient_is_that_of_the_paper
    if name == "rloo":  # whose value is that of another function of this gradient
        identities: tuple[Any, ...] = (slope,)
    else:
        identities = (value, slope)
    return Subject(
        name=f"kpg.trainers.recipes.{name}",
        shipped=partial(shipped, name),
        identities=identities,
        mutants={title: partial(own, **change) for title, change in mutants.items()},
        right=own,
    )


_CUT_COUNTS: dict[str, Any] = {"divided by all texts of the iteration": {"batch": True}}
RECIPES = (
    of_paper(
        "grpo",
        grpo,
        right,
        {
            "mean over tokens": {"divided": by_tokens},
            "divided by the room": {"divided": by_room},
            "std left out": {"advantage": centred},
            "not clipped": {"low": 9.0, "high": 9.0},
            "ratio of the text": {"whole": True},
            "cut texts left out": {"masked": True},
            **_CUT_COUNTS,
        },
    ),
    of_paper(
        "dr_grpo",
        dr_grpo,
        partial(right, advantage=centred, divided=by_room),
        {
            "mean over texts": {"divided": by_texts},
            "mean over tokens": {"divided": by_tokens},
            "std left in": {"advantage": standardised},
            "mean of the others": {"advantage": against_others},
            **_CUT_COUNTS,
        },
    ),
    of_paper(
        "dapo",
        dapo,
        partial(right, divided=by_tokens, high=0.28, masked=True),
        {
            "mean over texts": {"divided": by_texts},
            "one range": {"high": 0.2},
            "wider below, too": {"low": 0.28},
            "cut texts count": {"masked": False},
            **_CUT_COUNTS,
        },
    ),
    of_paper(
        "gspo",
        gspo,
        partial(right, low=3e-4, high=4e-4, whole=True),
        {
            "ratio of each token": {"whole": False},
            "not per token": {"by_length": False},
            "one range": {"high": 3e-4},
            "mean over tokens": {"divided": by_tokens},
        },
        at=NEAR,
    ),
    of_paper(
        "rloo",
        rloo,
        partial(right, advantage=against_others, divided=by_room),
        {
            "mean with itself": {"advantage": centred},
            "std left in": {"advantage": standardised},
            "mean over tokens": {"divided": by_tokens},
            "mean over texts": {"divided": by_texts},
        },
        at=OLD,
    ),
)
