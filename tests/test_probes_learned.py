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


def settings_for(algorithm: str, pair: Pair, num_steps: int) -> dict[str, Any]:
    """Returns what finds the optimum of a probe within seconds."""
    settings: dict[str, Any] = {"num_steps": num_steps, "gamma": GAMMA}
    settings["learning_rate"] = 0.02 if pair.memory else 0.01
    settings["ent_coef"] = 0.01 if pair.action[1] == "discrete" else 0.0
    if algorithm == "PPO":
        # Whole sequences when there is a memory: a quarter of the environments.
        settings |= {"num_epochs": 4, "minibatch_size": 16 * num_steps}
    if algorithm == "ActorCritic":
        settings |= {"gae_lambda": 0.95, "normalize_advantages": True}
    return settings


def learned(
    algorithm: str,
    probe: Probe,
    pair: Pair,
    mode: str = "in-graph",
    iterations: int = 200,
    **options: Any,
) -> Any:
    """Trains on 64 copies of a probe."""
    steps = len(probe.states) // probe._starts
    if algorithm != "REINFORCE":
        steps = max(steps, 4)
    env = make_environment(probe, mode, num_envs=64, limit=steps)
    # Small graphs on the host, where a step costs more than a gradient.
    trainer = make_trainer(
        algorithm,
        env,
        pair,
        units=16,
        compile_arguments={
            "jit_compile": mode == "in-graph",
            "steps_per_execution": iterations,
        },
        **settings_for(algorithm, pair, steps),
        **options,
    )
    trainer.fit(env, steps_per_epoch=iterations, verbose=0)
    env.close()
    return trainer


@pytest.mark.parametrize("task", ["value", "value_of_state", "discounting"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_values_are_learned(algorithm: str, task: str) -> None:
    probe = Probe(task)
    trainer = learned(algorithm, probe, PLAIN, critic=True, iterations=300)
    _, values = played(probe, trainer)
    np.testing.assert_allclose(values, probe.values(GAMMA), atol=0.05)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("algorithm", ["PPO", "ActorCritic"])
def test_a_cut_is_not_an_end(algorithm: str, mode: str) -> None:
    """1 / (1 − γ) = 10; who takes the cut for an end learns at most 1 − γ⁸ of it."""
    probe = Probe("truncation")
    iterations = 1500 if mode == "in-graph" else 600
    trainer = learned(algorithm, probe, PLAIN, mode, iterations)
    _, values = played(probe, trainer)
    np.testing.assert_allclose(values, probe.values(GAMMA), rtol=0.05)


@pytest.mark.parametrize("task", ["policy", "policy_of_state"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_policies_are_learned(algorithm: str, task: str) -> None:
    probe = Probe(task)
    trainer = learned(algorithm, probe, PLAIN, critic=True)
    reached, values = played(probe, trainer)
    assert reached == pytest.approx(probe.optimum, abs=1e-6)
    np.testing.assert_allclose(values, probe.values(GAMMA), atol=0.1)


@pytest.mark.parametrize(("name", "algorithm", "mode"), CASES)
def test_every_claim_reaches_its_optimum(name: str, algorithm: str, mode: str) -> None:
    pair = PAIRS[name]
    probe = Probe(pair.task, pair.observation[1], pair.action[1], pair.masked)
    iterations = 400 if mode == "in-graph" else 250
    trainer = learned(algorithm, probe, pair, mode, iterations)
    reached, _ = played(probe, trainer)
    exact = "box" not in str(pair.action[1])
    assert reached == pytest.approx(probe.optimum, abs=1e-5 if exact else 0.01)


def test_without_a_memory_the_rung_of_memory_is_not_reached() -> None:
    probe = Probe("memory")
    reached, _ = played(probe, learned("PPO", probe, PLAIN))
    assert reached <= 0.5 + 1e-6
