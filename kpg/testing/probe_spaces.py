"""How a probe shows one bit, and how an action answers it, in every kind of space."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
from gymnasium.spaces import (
    Box,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Text,
    Tuple,
)

from kpg import spaces
from kpg.types import Array, Nest, Space

# `take(table, indices)`: rows of a NumPy table, in the graph or on the host.
Take: TypeAlias = Callable[[Array, Nest], Nest]

# The name of a kind, or a dict or tuple of kinds, nested.
Kinds: TypeAlias = Nest

# An observation shows one of three symbols: the bit, 0 or 1, or nothing.
BLANK = 2
SECOND_BEST, FORBIDDEN = 0.5, -100.0


def _image(column: int, width: int) -> Array:
    pixels = np.zeros((12, 12, 1), np.uint8)
    pixels[:, column : column + width] = 255
    return pixels


# The space of each kind, and what shows the symbols. No choice starts at 0 and no range
# is symmetric, to catch code that takes this for granted.
_OBSERVATIONS: dict[str, tuple[Space, list[Nest]]] = {
    "box": (Box(-1.0, 3.0, (1,)), [*np.array([[-1.0], [3.0], [1.0]], np.float32)]),
    "discrete": (Discrete(3, start=1), [np.int64(n) for n in (1, 2, 3)]),
    "multi_discrete": (
        MultiDiscrete([3, 3], start=[1, -1]),
        [*np.array([[1, 1], [2, 0], [3, -1]])],
    ),
    "multi_binary": (MultiBinary(2), [*np.array([[1, 0], [0, 1], [0, 0]], np.int8)]),
    "image": (
        Box(0, 255, (12, 12, 1), np.uint8),
        [_image(0, 6), _image(6, 6), _image(0, 0)],
    ),
    "text": (Text(5, min_length=0, charset="efghilrt"), ["left", "right", ""]),
}
_ACTIONS: dict[str, Space] = {
    "discrete": Discrete(3, start=1),
    "box": Box(np.array([-1, 0], np.float32), np.array([1, 4], np.float32)),
    "multi_discrete": MultiDiscrete([3, 3], start=[1, -1]),
    "multi_binary": MultiBinary(2),
}
OBSERVATIONS = tuple(_OBSERVATIONS)
ACTIONS = tuple(_ACTIONS)


class Observations:
    """A nest of kinds of observations: a name of `OBSERVATIONS`, or a dict or tuple."""

    def __init__(self, kinds: Kinds) -> None:
        known = {kind: space for kind, (space, _) in _OBSERVATIONS.items()}
        self.space = _space(kinds, known, "observation")
        self._kinds = kinds
        self._leaves = [_OBSERVATIONS[name] for name in tf.nest.flatten(kinds)]
        self.num_leaves = len(self._leaves)

    def elements(self, symbols: Array) -> list[Nest]:
        """Returns N elements of the space that show the symbols `[N, leaves]`."""
        rows = zip(*self._columns(symbols), strict=True)
        return [tf.nest.pack_sequence_as(self._kinds, [*row]) for row in rows]

    def encodings(self, symbols: Array) -> Nest:
        """Returns the same as arrays `[N, ...]`; see `kpg.spaces.encode`."""
        pairs = zip(self._leaves, self._columns(symbols), strict=True)
        arrays = [spaces.encode(space, column) for (space, _), column in pairs]
        return tf.nest.pack_sequence_as(self._kinds, arrays)

    def _columns(self, symbols: Array) -> list[list[Nest]]:
        pairs = zip(self._leaves, symbols.T, strict=True)
        return [[codes[symbol] for symbol in column] for (_, codes), column in pairs]


class _Part(NamedTuple):
    """A choice or a number at `place` in leaf number `leaf`, which may be a scalar.

    `choices` is 0 for a number, of which `low` and `high` are the bounds.
    """

    leaf: int
    place: int | None
    choices: int
    low: float
    high: float


class Actions:
    """A nest of kinds of actions, and what they earn; masks cover `num_choices`."""

    def __init__(self, kinds: Kinds) -> None:
        self.space = _space(kinds, _ACTIONS, "action")
        self._kinds = kinds
        self._leaves = [_ACTIONS[name] for name in tf.nest.flatten(kinds)]
        self._parts = [
            part for leaf in enumerate(self._leaves) for part in _parts(*leaf)
        ]
        self.num_choices = sum(part.choices for part in self._parts)

    def rewards(self, actions: Nest, bits: Nest, forbidden: Nest, take: Take) -> Nest:
        """Returns what the parts earn on average, `[B]`; `bits` say what is right."""
        leaves, total = tf.nest.flatten(actions), 0.0
        for number, part in enumerate(self._parts):
            values = leaves[part.leaf]
            if part.place is not None:
                values = values[..., part.place]
            right = _right(number, bits)
            if part.choices:
                scores = take(_scores(part.choices), values - int(part.low))
                total += (1 - forbidden) * (1 - right) * scores[..., 0]
                total += (1 - forbidden) * right * scores[..., 1]
                total += forbidden * (1 - right) * scores[..., 2]
                total += forbidden * right * scores[..., 3]
            else:
                half = (part.high - part.low) / 2.0
                total -= ((values - part.low) / half - 0.5 - right) ** 2
        return total / len(self._parts)

    def best(self, bits: Array, forbidden: Array) -> Nest:
        """Returns the actions that earn most, a nest of arrays `[N, ...]`."""
        columns: list[list[Array]] = [[] for _ in self._leaves]
        for number, part in enumerate(self._parts):
            right = _right(number, bits)
            if part.choices:
                other = 2 if part.choices > 2 else 1 - right
                value = part.low + np.where(forbidden > 0, other, right)
            else:
                value = part.low + (part.high - part.low) * (0.25 + 0.5 * right)
            columns[part.leaf].append(value)
        leaves = [
            np.stack(parts, -1).reshape(-1, *(space.shape or ())).astype(space.dtype)
            for space, parts in zip(self._leaves, columns, strict=True)
        ]
        return tf.nest.pack_sequence_as(self._kinds, leaves)

    def masks(self, bits: Array, forbidden: Array) -> Array:
        """Returns `[N, M]` int8, 1 for each allowed choice."""
        masks = []
        for number, part in enumerate(self._parts):
            right = _right(number, bits)[:, np.newaxis] == np.arange(part.choices)
            masks.append(~right | (forbidden[:, np.newaxis] == 0))
        return np.concatenate(masks, axis=1).astype(np.int8)


def _space(kinds: Kinds, known: Mapping[str, Space], role: str) -> Space:
    if isinstance(kinds, dict) and kinds:
        return Dict({key: _space(kind, known, role) for key, kind in kinds.items()})
    if isinstance(kinds, tuple) and kinds:
        return Tuple([_space(kind, known, role) for kind in kinds])
    if not isinstance(kinds, str) or kinds not in known:
        raise ValueError(
            f"`{role}` must be one of {tuple(known)}, or a dict or tuple of them. "
            f"Received: {kinds!r}"
        )
    return known[kinds]


def _parts(leaf: int, space: Space) -> list[_Part]:
    """Lists the choices and numbers of a space that is no `Dict` or `Tuple`."""
    if isinstance(space, Discrete):
        return [_Part(leaf, None, int(space.n), float(space.start), 0.0)]
    if isinstance(space, MultiDiscrete):
        pairs = zip(space.nvec.tolist(), space.start.tolist(), strict=True)
        return [_Part(leaf, i, n, start, 0.0) for i, (n, start) in enumerate(pairs)]
    if isinstance(space, Box):
        bounds = zip(space.low.tolist(), space.high.tolist(), strict=True)
        return [_Part(leaf, i, 0, *bound) for i, bound in enumerate(bounds)]
    return [_Part(leaf, i, 2, 0.0, 0.0) for i in range(np.prod(space.shape or ()))]


def _right(number: int, bits: Nest) -> Nest:
    """Returns the right choices of a part: the bit, or its opposite, in turns."""
    return bits if number % 2 == 0 else 1 - bits


@functools.cache
def _scores(choices: int) -> Array:
    """Returns `[choices, 4]` float32, what each choice earns.

    The columns: 0 is right, 1 is right, and the same two where that is forbidden.
    """
    number, right = np.arange(choices)[:, np.newaxis], np.arange(2)
    scores = np.where(number == right, 1.0, np.where(number > 1, SECOND_BEST, 0.0))
    forbidden = np.where(number == right, FORBIDDEN, scores)
    return np.concatenate([scores, forbidden], axis=1).astype(np.float32)
