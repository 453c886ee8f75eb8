"""Stateless random numbers that are the same everywhere.

The generator is always Philox, and its bits become floats here. TensorFlow's choice of
both depends on the device and on XLA, so one seed would give different numbers in a
trainer and in a served policy. XLA's own Philox takes 11 ns a number on a CPU, since it
computes all four lanes for each; a loop of element-wise operations takes a sixth.

Reference: Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3",
https://doi.org/10.1145/2063384.2063405.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from kpg.graph.compiling import for_gpu, for_xla

Shape: TypeAlias = "Sequence[int | tf.Tensor] | tf.Tensor"
"""A shape, known while the graph is built or not."""

# Philox4x32-10: the factors of the even lanes, and the increments of the keys.
_FACTORS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MIXING_KEY = 0x02461E293EC8F720
_ROUNDS, _ROUNDS_AT_ONCE = 10, 2
# So many numbers at most are a literal of a program.
_DIGITS = 256
# For so few numbers XLA's own Philox is as fast, and faster to trace.
_FEW = 128

# After 16 rounds our tests cannot tell the permutations from uniform ones.
_SWAP_ROUNDS = 24
# On a GPU, of which each pass of the loop is one kernel.
_SWAPS_AT_ONCE = 6


def uniform(
    shape: Shape, seed: tf.Tensor, low: float = 0.0, high: float = 1.0
) -> tf.Tensor:
    """Draws float32 numbers, uniform in (low, high); the unit interval is open.

    `seed` is `[2]` int32, here and below: equal seeds give equal numbers.
    """
    # 23 bits and a half: never 0 or 1, whose logarithms would not be finite.
    bits = tf.bitwise.right_shift(tf.bitcast(_bits(shape, seed), tf.uint32), 9)
    unit = (tf.cast(tf.bitcast(bits, tf.int32), tf.float32) + 0.5) * 2.0**-23
    return unit if (low, high) == (0.0, 1.0) else low + unit * (high - low)


def normal(
    shape: Shape, seed: tf.Tensor, loc: float = 0.0, scale: float = 1.0
) -> tf.Tensor:
    """Draws float32 numbers of mean `loc` and standard deviation `scale`."""
    standard = tf.math.erfinv(uniform(shape, seed, -1.0, 1.0)) * math.sqrt(2.0)
    return standard if (loc, scale) == (0.0, 1.0) else loc + scale * standard


def integers(shape: Shape, seed: tf.Tensor, low: int, high: int) -> tf.Tensor:
    """Draws int32 numbers from low … high − 1; see `uniform`."""
    return low + tf.math.floormod(_bits(shape, seed), high - low)


def seeds(shape: Sequence[int | tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
    """Draws `[*shape, 2]` int32 stateless seeds from one seed."""
    return _bits([*shape, 2], seed)


def fold_in(seed: int, number: int) -> int:
    """Returns a seed of 31 bits that looks unrelated to those of other numbers ≥ 0."""
    mixed = np.random.SeedSequence([seed % 2**64, number]).generate_state(1)
    return int(mixed[0]) >> 1


def permutations(count: int, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Draws `[count, size]` int32: independent permutations of 0 … size − 1.

    Every element finds its own place by a swap-or-not shuffle: in each of 24 rounds a
    hash decides whether it and a partner swap places. On a CPU, XLA sorts 20 × slower.

    Reference: Hoang, Morris and Rogaway (2012), "An enciphering scheme based on a card
    shuffle", https://arxiv.org/abs/1208.1176.
    """
    keys = _bits([_SWAP_ROUNDS, 2, count, 1], seed)
    sums, salts = tf.math.floormod(keys[:, 0], size), keys[:, 1]
    at_once = _SWAPS_AT_ONCE if for_gpu() else 1

    def swap_or_not(index: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for number in range(at_once):
            partners = sums[index + number] - places
            partners = tf.where(partners < 0, partners + size, partners)
            pairs = tf.maximum(places, partners)  # both of a pair must agree
            swap = _hash(tf.bitwise.bitwise_xor(pairs, salts[index + number])) < 0
            places = tf.where(swap, partners, places)
        return index + at_once, places

    start = tf.broadcast_to(
        _counted(size, tf.convert_to_tensor(seed)[0]), [count, size]
    )
    return tf.while_loop(
        lambda index, _: index < _SWAP_ROUNDS, swap_or_not, (tf.constant(0), start)
    )[1]


def _hash(numbers: tf.Tensor) -> tf.Tensor:
    """Scatters int32 numbers: the finalizer of MurmurHash3, by Austin Appleby."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        shifted = tf.bitwise.right_shift(tf.bitcast(numbers, tf.uint32), shift)
        numbers = tf.bitwise.bitwise_xor(numbers, tf.bitcast(shifted, tf.int32))
        numbers *= factor - (factor >> 31 << 32)  # the same bits as a signed number
    return numbers


def _bits(shape: Shape, seed: tf.Tensor) -> tf.Tensor:
    """Draws int32 numbers of 32 random bits."""
    known = _static(shape)
    size = 0 if known is None else math.prod(known)
    mixed = _full([4], [_MIXING_KEY], tf.cast(seed, tf.uint64), tf.uint32)
    if not for_xla() or size < _FEW:
        # `tf.random.stateless_uniform` in a third of its operations.
        key, half = tf.split(tf.bitcast(tf.reshape(mixed, [2, 2]), tf.uint64), 2)
        counter = tf.concat([tf.constant([0], tf.uint64), half], axis=0)
        return _full(shape if known is None else known, key, counter, tf.int32)
    words = tf.unstack(mixed)
    zero = tf.bitwise.bitwise_and(words[2], tf.constant(0, tf.uint32))
    lanes = _philox([zero, zero, *words[2:]], words[:2], -(-size // 4))
    words = tf.reshape(tf.stack(lanes, axis=-1), [-1])[:size]
    return tf.reshape(tf.bitcast(words, tf.int32), known)


def _full(
    shape: Shape, key: tf.Tensor | list[int], counter: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    """Returns the numbers of a counter's block and of those that follow."""
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape,
        key=tf.convert_to_tensor(key, tf.uint64),
        counter=counter,
        alg=tf.random.Algorithm.PHILOX.value,
        dtype=dtype,
    )


def _static(shape: Shape) -> list[int] | None:
    """Returns a shape if it is known while the graph is built, else `None`."""
    if isinstance(shape, (list, tuple)):
        return list(shape) if all(isinstance(size, int) for size in shape) else None
    value = tf.get_static_value(shape)
    return None if value is None else value.tolist()


def _counted(size: int, number: tf.Tensor) -> tf.Tensor:
    """Returns 0 … size − 1 of an integer's type; XLA computes it where it is needed.

    `tf.range` would become a literal as long as itself. What depends on `number`, a
    scalar that is not known while the graph is built, stays a computation.
    """
    if not for_xla() or size <= _DIGITS:
        return tf.cast(tf.range(size), number.dtype)
    digits = tf.cast(tf.range(_DIGITS), number.dtype)
    above = -(-size // _DIGITS)
    tens = _counted(above, number) if above > _DIGITS else digits[:above]
    tens += tf.bitwise.bitwise_and(number, tf.constant(0, number.dtype))
    pairs = tens[:, tf.newaxis] * tf.constant(_DIGITS, number.dtype) + digits
    return tf.reshape(pairs, [-1])[:size]


def _philox(
    counters: Sequence[tf.Tensor], keys: Sequence[tf.Tensor], blocks: int
) -> tuple[tf.Tensor, ...]:
    """Returns four lanes `[blocks]` uint32 of successive counters (section 3.3)."""
    xor = tf.bitwise.bitwise_xor
    at_once = _ROUNDS if for_gpu() else _ROUNDS_AT_ONCE

    def rounds(turn: tf.Tensor, *lanes: tf.Tensor) -> tuple[tf.Tensor, ...]:
        a, b, c, d = lanes
        for number in range(at_once):
            past = tf.cast(turn * at_once + number, tf.uint32)
            first, second = (
                key + past * tf.constant(weyl, tf.uint32)
                for key, weyl in zip(keys, _WEYL, strict=True)
            )
            high_a, low_a = _product(a, _FACTORS[0])
            high_c, low_c = _product(c, _FACTORS[1])
            a, b = xor(xor(high_c, b), first), low_c
            c, d = xor(xor(high_a, d), second), low_a
        return turn + 1, a, b, c, d

    lanes = [tf.fill([blocks], word) for word in counters]
    lanes[0] += _counted(blocks, counters[0])
    _, *mixed = tf.while_loop(
        lambda turn, *_: turn < _ROUNDS // at_once,
        rounds,
        (tf.constant(0), *lanes),
    )
    return tuple(mixed)


def _product(lane: tf.Tensor, factor: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the high and the low word of the product of a lane and a number."""
    product = tf.cast(lane, tf.uint64) * tf.constant(factor, tf.uint64)
    high = tf.cast(tf.bitwise.right_shift(product, 32), tf.uint32)
    return high, tf.cast(product, tf.uint32)
