"""Every rung of the probes, and every claim of support, reaches its optimum (slow)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kpg.environments import Probe
from tests.claims import (
    ALGORITHMS,
    BOX,
    CASES,
    CHOICE,
    MODES,
    PAIRS,
    Pair,
    make_environment,
    make_trainer,
    played,
)

pytestmark = pytest.mark.slow

PLAIN = Pair(BOX, CHOICE)
GAMMA = 0.9
# Rows of an iteration, and steps: fragments cut the episodes of four that ask for
# memory, and hold their resets.
ROWS, STEPS = 240, 6
# A claim is checked after each piece of so many iterations, so many times at most.
PIECE, PATIENCE = 25, 40
SAMPLING_LOSS = 0.1


def settings_for(
    algorithm: str, pair: Pair, num_steps: int, rows: int
) -> dict[str, Any]:
    """Returns what finds the optimum of a probe within seconds."""
    settings: dict[str, Any] = {"num_steps": num_steps, "gamma": GAMMA}
    settings["learning_rate"] = 0.02 if pair.memory else 0.01
    if algorithm == "PPO":
        settings |= {"num_epochs": 4, "minibatch_size": rows // 4}
    if algorithm == "ActorCritic":
        settings["gae_lambda"] = 0.95
    if "box" not in str(pair.action[1]):
        # Half a reward is safe, and who takes it too often stops looking for more.
        settings |= {"ent_coef": 0.1, "normalize_advantages": False}
        return settings
    if pair.masked:
        settings["ent_coef"] = 0.02
    if algorithm == "PPO":
        # At a fixed rate means wander off when little is left of the deviations.
        settings["learning_rate_schedule"] = "adaptive_kl"
    elif algorithm == "ActorCritic":
        settings["normalize_advantages"] = True
    return settings


def prepared(
    algorithm: str, probe: Probe, pair: Pair, mode: str, piece: int, **options: Any
) -> tuple[Any, Any]:
    """Returns copies of a probe, and a trainer for them.

    Args:
        algorithm: One of `ALGORITHMS`.
        probe: What to learn.
        pair: Says which models can.
        mode: One of `MODES`.
        piece: Iterations of a compiled call.
        **options: For `make_trainer`; others than `settings_for` has, or in its place.
    """
    steps = len(probe.states) // probe._starts
    if algorithm != "REINFORCE":
        steps = STEPS
    # Where a reset takes a step, half of the rows may be nothing else.
    rows = 2 * ROWS if mode == "NEXT_STEP" else ROWS
    env = make_environment(probe, mode, rows // steps, limit=steps)
    arguments = {
        # Small graphs on the host, where a step costs more than a gradient.
        "jit_compile": mode == "in-graph",
        "steps_per_execution": piece,
    }
    settings = settings_for(algorithm, pair, steps, rows) | options
    trainer = make_trainer(
        algorithm, env, pair, units=16, compile_arguments=arguments, **settings
    )
    return env, trainer


def learned(
    algorithm: str,
    probe: Probe,
    mode: str = "in-graph",
    iterations: int = 200,
    **options: Any,
) -> Any:
    """Returns a trainer after so many iterations on a probe."""
    env, trainer = prepared(algorithm, probe, PLAIN, mode, iterations, **options)
    trainer.fit(env, steps_per_epoch=iterations, verbose=0)
    env.close()
    return trainer


def tolerance(pair: Pair) -> float:
    """Returns how far below the optimum a greedy policy may stay.

    Numbers never hit it; a single wrong choice in a single state costs more than this.
    """
    return 0.01 if "box" in str(pair.action[1]) else 1e-5


def until_solved(
    probe: Probe, pair: Pair, env: Any, trainer: Any
) -> tuple[float, float]:
    """Trains in short pieces until a probe is solved, or patience ends.

    Nobody passes an optimum on the way to something better: to have been there is
    enough. But the samples must be nearly as good as the greedy policy, lest one that
    never learned happens to be right.

    Returns:
        The exact return of the greedy policy, and the mean return of the last piece.
    """
    reached = sampled = float("-inf")
    for _ in range(PATIENCE):
        history = trainer.fit(env, steps_per_epoch=PIECE, verbose=0).history
        (reached, _), sampled = played(probe, trainer), history["return"][-1]
        near = probe.optimum - reached <= tolerance(pair)
        if near and probe.optimum - sampled <= SAMPLING_LOSS:
            break
    return reached, sampled


@pytest.mark.parametrize("task", ["value", "value_of_state", "discounting"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_values_are_learned(algorithm: str, task: str) -> None:
    probe = Probe(task)
    trainer = learned(algorithm, probe, critic=True, iterations=300)
    _, values = played(probe, trainer)
    np.testing.assert_allclose(values, probe.values(GAMMA), atol=0.05)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("algorithm", ["PPO", "ActorCritic"])
def test_a_cut_is_not_an_end(algorithm: str, mode: str) -> None:
    """1 / (1 − γ) = 10; who takes the cut for an end learns at most 1 − γ⁸ of it."""
    probe = Probe("truncation")
    iterations = 1500 if mode == "in-graph" else 600
    trainer = learned(algorithm, probe, mode, iterations)
    _, values = played(probe, trainer)
    np.testing.assert_allclose(values, probe.values(GAMMA), rtol=0.05)


@pytest.mark.parametrize("task", ["policy", "policy_of_state"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_policies_are_learned(algorithm: str, task: str) -> None:
    probe = Probe(task)
    trainer = learned(algorithm, probe, critic=True)
    reached, values = played(probe, trainer)
    assert reached == pytest.approx(probe.optimum, abs=1e-6)
    np.testing.assert_allclose(values, probe.values(GAMMA), atol=0.1)


@pytest.mark.parametrize(("name", "algorithm", "mode"), CASES)
def test_every_claim_reaches_its_optimum(name: str, algorithm: str, mode: str) -> None:
    pair = PAIRS[name]
    probe = Probe(pair.task, pair.observation[1], pair.action[1], pair.masked)
    env, trainer = prepared(algorithm, probe, pair, mode, PIECE)
    reached, sampled = until_solved(probe, pair, env, trainer)
    env.close()
    assert reached == pytest.approx(probe.optimum, abs=tolerance(pair))
    assert sampled >= probe.optimum - SAMPLING_LOSS


def test_without_a_memory_the_rung_of_memory_is_not_reached() -> None:
    probe = Probe("memory")
    reached, _ = played(probe, learned("PPO", probe))
    assert reached <= 0.5 + 1e-6
