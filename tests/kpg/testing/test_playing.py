"""What random episodes show at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kpg.testing.playing import CONTRACT, equal, nondeterministic, play, trace
from kpg.testing.subject import subject_of
from tests.faulty_environments import CONTRACT_FAULTS, LIMIT, LeftOver, Random, Walk


@pytest.mark.parametrize(("make", "name"), CONTRACT_FAULTS)
def test_each_seeded_fault_is_found_and_named(
    make: Callable[[], Any], name: str
) -> None:
    experience = play(subject_of(make()))
    assert [finding.name for finding in experience.report] == [name]
    assert name in CONTRACT


def test_a_healthy_environment_gives_experience() -> None:
    experience = play(subject_of(Walk))
    assert experience.report == []
    assert experience.enough
    assert experience.num_steps == len(experience.rewards) >= 500
    assert max(experience.lengths) == LIMIT
    assert len(experience.observations) > experience.num_steps
    assert len(experience.terminated) == len(experience.lengths)


def test_the_play_can_be_short() -> None:
    experience = play(subject_of(Walk), most_steps=30, longest=3)
    assert experience.num_steps == 30
    assert experience.lengths == []


@pytest.mark.parametrize("make", [Random, LeftOver])
def test_other_episodes_of_the_same_seed_are_found(make: Callable[[], Any]) -> None:
    assert nondeterministic(subject_of(Walk)) is None
    finding = nondeterministic(subject_of(make))
    assert finding is not None
    assert finding.name == "nondeterministic"


def test_traces_depend_on_both_seeds() -> None:
    subject = subject_of(Walk)
    first = trace(subject, 1, 2)
    assert len(first) <= LIMIT + 1
    assert equal(first, trace(subject, 1, 2))
    assert not equal(first, trace(subject, 3, 2))
    assert not equal(first, trace(subject, 1, 4))
