"""Random numbers: the same in and outside of XLA, and distributed as they should be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.graph import random
from kpg.graph.compiling import building_for_device, building_for_xla, compiled

COUNT = 40_000
SEED = tf.constant([7, -8])
DRAWS: dict[str, Callable[[tf.Tensor], Any]] = {
    "uniform": lambda seed: random.uniform([COUNT], seed, -1.0, 3.0),
    "normal": lambda seed: random.normal([COUNT], seed, 1.0, 2.0),
    "integers": lambda seed: random.integers([COUNT], seed, -2, 5),
    "seeds": lambda seed: random.seeds([COUNT], seed),
    "permutations": lambda seed: random.permutations(3, 1000, seed),
}


@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("name", DRAWS)
def test_xla_draws_the_same_numbers(name: str, jit_compile: bool) -> None:
    numbers = compiled(DRAWS[name], jit_compile)(SEED)
    np.testing.assert_allclose(numbers, DRAWS[name](SEED), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(), (5,), (128,), (131,), (2, 1001), (3, 7, 11)])
def test_bits_are_those_of_tensorflows_philox(
    shape: tuple[int, ...],
) -> None:
    for seed in ([0, 0], [7, -8], [-(2**31), 2**31 - 1]):
        expected = tf.random.stateless_uniform(
            shape, seed, None, None, tf.int32, alg="philox"
        )
        with building_for_xla():
            bits = random._bits(shape, seed)
        np.testing.assert_array_equal(bits, expected)
        np.testing.assert_array_equal(random._bits(shape, seed), expected)


@pytest.mark.parametrize("shape", [[COUNT], tf.constant([2, COUNT])])
def test_outside_of_xla_a_draw_is_a_few_operations(shape: Any) -> None:
    def kinds(jit_compile: bool) -> list[str]:
        draw = compiled(lambda seed: random.integers(shape, seed, 0, 9), jit_compile)
        graph = draw.get_concrete_function(SEED).graph
        return [operation.type for operation in graph.get_operations()]

    plain = [kind for kind in kinds(False) if kind not in ("Const", "Placeholder")]
    assert len(plain) < 12
    assert not any("While" in kind for kind in plain)
    assert any("While" in kind for kind in kinds(True))


@pytest.mark.parametrize("name", DRAWS)
def test_the_seed_decides(name: str) -> None:
    first, again = DRAWS[name](SEED).numpy(), DRAWS[name](SEED).numpy()
    np.testing.assert_array_equal(first, again)
    assert (first != DRAWS[name](SEED + [0, 1]).numpy()).mean() > 0.5


def test_moments() -> None:
    uniform, normal = DRAWS["uniform"](SEED).numpy(), DRAWS["normal"](SEED).numpy()
    assert -1.0 < uniform.min() and uniform.max() < 3.0
    for numbers, mean, deviation in (
        (uniform, 1.0, 4 / np.sqrt(12)),
        (normal, 1.0, 2.0),
    ):
        assert abs(numbers.mean() - mean) < 4 * deviation / np.sqrt(COUNT)
        assert abs(numbers.std() - deviation) < 4 * deviation / np.sqrt(COUNT)
    scores = np.abs(normal - 1.0) / 2.0
    assert (scores < 1.0).mean() == pytest.approx(0.6827, abs=0.01)
    assert (scores < 2.0).mean() == pytest.approx(0.9545, abs=0.005)


def test_integers_are_uniform() -> None:
    counts = np.bincount(DRAWS["integers"](SEED).numpy() + 2, minlength=7)
    assert len(counts) == 7
    error = np.sqrt(COUNT * (1 / 7) * (6 / 7))
    assert np.all(np.abs(counts - COUNT / 7) < 4 * error)


def test_extreme_bits_stay_inside_the_open_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extremes = tf.constant([0, -1, 2**31 - 1, -(2**31)])
    monkeypatch.setattr(random, "_bits", lambda shape, seed: extremes)
    numbers = random.uniform([4], SEED).numpy()
    assert np.all((0.0 < numbers) & (numbers < 1.0))
    assert np.isfinite(random.normal([4], SEED)).all()


@pytest.mark.parametrize("size", [1, 2, 5, 64, 1000])
def test_permutations_are_permutations(size: int) -> None:
    rows = random.permutations(50, size, SEED).numpy()
    np.testing.assert_array_equal(np.sort(rows), np.tile(np.arange(size), (50, 1)))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_every_permutation_is_as_likely(size: int) -> None:
    rows = random.permutations(60_000, size, SEED).numpy()
    codes = rows @ size ** np.arange(size)
    counts = np.unique(codes, return_counts=True)[1]
    assert len(counts) == math.factorial(size)
    assert excess(counts) < 4


def test_every_element_is_as_likely_in_every_place() -> None:
    rows = random.permutations(20_000, 64, SEED).numpy()
    places = np.stack([np.bincount(column, minlength=64) for column in rows.T])
    assert abs(excess(places)) < 4
    # Neighbours before are no more often neighbours after than by chance, 2/64.
    kept = np.abs(np.diff(rows, axis=1)) == 1
    assert abs(kept.mean() - 2 / 64) < 4 * np.sqrt(2 / 64 / kept.size)


def test_a_shuffle_of_few_rounds_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "_SWAP_ROUNDS", 6)
    rows = random.permutations(20_000, 64, SEED).numpy()
    places = np.stack([np.bincount(column, minlength=64) for column in rows.T])
    assert excess(places) > 10


def excess(counts: np.ndarray) -> float:
    """Returns how far χ² lies above what is expected, in standard errors."""
    mean = counts.mean()
    degrees = counts.size - 1
    statistic = float(((counts - mean) ** 2 / mean).sum())
    return (statistic - degrees) / math.sqrt(2 * degrees)


def test_seeds_that_numbers_are_folded_in_are_all_different() -> None:
    pairs = [(seed, number) for seed in (0, 1, 2**31, -1) for number in range(500)]
    folded = [random.fold_in(*pair) for pair in pairs]
    assert len(set(folded)) > len(pairs) - 3  # two of 2000 meet with 0.1 %
    assert all(0 <= seed < 2**31 for seed in folded)
    assert folded == [random.fold_in(*pair) for pair in pairs]


@pytest.mark.parametrize("name", DRAWS)
def test_the_forms_for_a_gpu_give_the_same_bits(name: str) -> None:
    found = []
    for device in ("CPU", "GPU"):
        with building_for_xla(), building_for_device(device):
            found.append(np.asarray(DRAWS[name](SEED)))
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("name", ["integers", "permutations"])
def test_a_program_does_not_grow_with_its_numbers(name: str) -> None:
    """Numbers from 0 on would be a literal of megabytes."""

    def size(count: int) -> int:
        draw = {
            "integers": lambda seed: random.integers([count], seed, 0, 9),
            "permutations": lambda seed: random.permutations(1, count, seed),
        }[name]
        program = compiled(draw, True).experimental_get_compiler_ir(SEED)
        return len(program(stage="hlo_serialized"))

    assert size(2**20 + 5) < 1.2 * size(2**12)
