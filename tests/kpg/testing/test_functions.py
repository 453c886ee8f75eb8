"""What is wrong with the functions of an environment is named."""

from __future__ import annotations

import re

import pytest

from kpg.environments import CartPole, FunctionalEnv, GraphEnvironment
from kpg.testing.functions import findings
from tests.faulty_functions import (
    CountsInPython,
    Drift,
    FixedBatch,
    GlobalRandomness,
    MixesRows,
    OneStateForAll,
    OutsideTheGraph,
    RemembersInPython,
    RewardColumn,
    RewardInDoublePrecision,
    StateOfAnotherStructure,
    StateThatGrows,
    TerminalAsNumber,
    TerminalOfTheBatch,
    TracedConstant,
)

MUTANTS: list[tuple[type[Drift], str]] = [
    (RewardColumn, r"`reward` must return a float32 tensor of shape \[B\].*\[3, 1\]"),
    (RewardInDoublePrecision, r"`reward` must return a float32.*float64\[3\]"),
    (TerminalAsNumber, r"`terminal` must return a bool.*float32\[3\]"),
    (TerminalOfTheBatch, r"`terminal` must return a bool.*bool\[\]"),
    (OneStateForAll, r"`initial` must return tensors of shape \[B, ...\]"),
    (StateThatGrows, r"`transition` must.*float32\[3, 1\] became float64\[3, 1\]"),
    (StateOfAnotherStructure, "`transition` must.*became {'place': "),
    (FixedBatch, r"`terminal` must.*bool\[16\]"),
    (CountsInPython, "keep nothing in attributes between calls"),
    (RemembersInPython, "keep nothing in attributes between calls"),
    (TracedConstant, "Compiled, the environment does something else"),
    (GlobalRandomness, "random numbers only from `rng`"),
    (MixesRows, "Each row is an environment of its own"),
    (OutsideTheGraph, "made of TensorFlow operations"),
]


@pytest.mark.parametrize(("mutant", "words"), MUTANTS)
def test_a_function_that_is_wrong_is_told_why(mutant: type[Drift], words: str) -> None:
    (finding,) = findings(GraphEnvironment(mutant()))
    assert re.search(words, finding.words)
    assert finding.name in {"step_contract", "nondeterministic", "rows_mixed", "crash"}


@pytest.mark.parametrize("env", [Drift(), CartPole()])
def test_pure_functions_have_no_findings(env: FunctionalEnv) -> None:
    assert list(findings(GraphEnvironment(env))) == []
