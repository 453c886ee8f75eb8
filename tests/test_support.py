"""Everything that the documentation claims to support runs, and is what it claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.environments import Probe
from kpg.trajectories import Trajectory, resets
from tests.claims import (
    ALGORITHMS,
    CASES,
    MODES,
    PAIRS,
    claimed,
    make_environment,
    make_trainer,
)
from tests.fragments import collected, traces, values_of

# The worst return is that of numbers at the far end: −1.5², and nobody who is masked
# pays for a forbidden choice.
WORST, BEST = -2.25, 1.0
STEPS = 6
SETTINGS: dict[str, dict[str, Any]] = {
    "PPO": {"num_steps": STEPS, "num_epochs": 1, "minibatch_size": STEPS},
    "ActorCritic": {"num_steps": STEPS},
    "REINFORCE": {"num_steps": 4},
}
# Of these a graph is made.
IN_GRAPHS = {
    *(("box-discrete", mode) for mode in ("in-graph", "NEXT_STEP")),
    ("discrete-discrete-masked-lstm", "in-graph"),
}
DOCS = Path(__file__).parents[1] / "docs" / "support.md"


def ratios(trainer: Any, rows: Trajectory) -> np.ndarray:
    """Returns π(a|s) / μ(a|s) of the valid rows."""
    policy = trainer.policy
    parameters, _ = policy.unroll(rows.observations, rows.policy_state, resets(rows))
    log_probs = policy.family.log_prob(parameters, rows.actions)
    result: np.ndarray = np.exp(log_probs - rows.log_probs)
    return result if rows.valid is None else result[rows.valid.numpy()]


def is_fast(name: str, algorithm: str, mode: str) -> bool:
    """Whether the fast tests train this cell; the slow ones train all others.

    One pair trains with every algorithm, in the graph and in a mode on the host. Models
    are asked alike whatever the algorithm, and algorithms ask alike whatever the model,
    so any other pair is trained in every mode, in the graph with PPO, and on the host
    with each algorithm once.
    """
    if name == "box-discrete":
        return mode in ("in-graph", "NEXT_STEP")
    if mode == "in-graph":
        return algorithm == "PPO"
    number, place = list(PAIRS).index(name), MODES.index(mode)
    return algorithm == ALGORITHMS[(number + place) % 3]


@pytest.fixture
def eager(name: str, mode: str) -> Iterator[bool]:
    """Whether operations run one by one, in a third of the time.

    With one pair a graph is made for every algorithm, of an environment in it and of
    one of the modes on the host, which give the update the same kind of rows; with
    another one, which has masks and a state, of the environment alone. The slow tests
    of the probes make a graph for every row of the table.
    """
    graph = (name, mode) in IN_GRAPHS
    tf.config.run_functions_eagerly(not graph)
    yield not graph
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize(
    ("name", "algorithm", "mode"),
    [
        pytest.param(*case, marks=[] if is_fast(*case) else pytest.mark.slow)
        for case in CASES
    ],
)
def test_trains(name: str, algorithm: str, mode: str, eager: bool) -> None:
    pair = PAIRS[name]
    # Episodes of four steps: fragments of six cut them, and hold resets.
    probe = Probe("memory", pair.observation[1], pair.action[1], pair.masked)
    env = make_environment(probe, mode, num_envs=2)
    arguments = {"jit_compile": False}
    trainer = make_trainer(
        algorithm, env, pair, compile_arguments=arguments, **SETTINGS[algorithm]
    )
    models = [model for model in (trainer.policy, trainer.critic) if model is not None]
    # An image may be blank in all rows, and then moves no weight of the encoder.
    watched = [v for m in models for v in (*m.backbone.weights, *m.head.weights)]
    before = values_of(watched)
    # A second iteration shows whether a graph is used again.
    iterations = 1 if eager else 2
    history = trainer.fit(env, steps_per_epoch=iterations, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    for old, new in zip(before, values_of(watched), strict=True):
        assert not np.array_equal(old, new)
    assert eager or traces(trainer) == 1
    rows, _ = collected(trainer, env)
    np.testing.assert_allclose(ratios(trainer, rows), 1.0, atol=1e-4)
    # More than there are environments.
    result = trainer.evaluate(env, episodes=3, deterministic=False)
    assert result["returns"].shape == (3,)
    assert result["length"] == 4.0
    assert WORST <= result["returns"].min() <= result["returns"].max() <= BEST
    env.close()


def documented() -> set[tuple[str, str, str]]:
    """Reads the table of the documentation: (kind, algorithm, mode)."""
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| ") and not line.startswith("| ---")
    ]
    start = next(i for i, row in enumerate(table) if row[0] == "kind")
    modes, found = table[start][1:], set()
    for kind, *cells in table[start + 1 :]:
        if not kind.startswith(("observation: ", "action: ", "action mask", "memory")):
            break
        for mode, cell in zip(modes, cells, strict=True):
            algorithms = ALGORITHMS if cell == "all" else cell.split(", ")
            found |= {(kind, algorithm, mode) for algorithm in algorithms if algorithm}
    return found


def test_the_documentation_claims_what_is_tested() -> None:
    found = documented()
    assert found == claimed()
    assert len(found) == 21 * len(ALGORITHMS) * len(MODES)


def test_the_fast_cases_cover_all_pairs_of_a_kind_an_algorithm_and_a_mode() -> None:
    fast = {
        (kind, algorithm, mode)
        for name, algorithm, mode in CASES
        if is_fast(name, algorithm, mode)
        for kind in PAIRS[name].kinds
    }
    for left, right in ((0, 1), (0, 2), (1, 2)):
        pairs, all_pairs = (
            {(cell[left], cell[right]) for cell in cells} for cells in (fast, claimed())
        )
        assert pairs == all_pairs
