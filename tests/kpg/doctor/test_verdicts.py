"""What random episodes say about an environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kpg.doctor import NAMES, diagnose
from kpg.doctor.verdicts import ragged_infos
from kpg.testing.playing import play
from kpg.testing.subject import subject_of
from tests.faulty_environments import (
    VERDICT_FAULTS,
    ConstantReward,
    Huge,
    LimitAsTermination,
    Ragged,
    SameStart,
    Stuck,
    Walk,
    names,
    trainer_for,
)


@pytest.mark.parametrize(("make", "name"), VERDICT_FAULTS)
def test_each_seeded_fault_is_found_and_named(
    make: Callable[[], Any], name: str
) -> None:
    assert names(diagnose(make())) == [name]


def test_an_episode_that_stays_over_is_found() -> None:
    assert "stuck_after_end" in names(diagnose(Stuck()))


def test_a_healthy_environment_has_no_findings() -> None:
    assert diagnose(Walk) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"max_steps": 7}, "time_limit_as_termination"),
        pytest.param({"constant": -1.0}, "constant_rewards", marks=pytest.mark.slow),
        pytest.param({}, "same_start", marks=pytest.mark.slow),
    ],
)
def test_what_may_be_intended_is_a_note(change: dict[str, Any], name: str) -> None:
    base = {
        "time_limit_as_termination": LimitAsTermination,
        "constant_rewards": ConstantReward,
        "same_start": SameStart,
    }[name]
    findings = diagnose(type("Changed", (base,), change)())
    assert [(finding.name, finding.note) for finding in findings] == [(name, True)]


@pytest.mark.slow
def test_a_trainer_that_normalises_is_asked_for_no_more() -> None:
    env = Huge()
    trainer = trainer_for(env, normalize_observations=True)
    assert "observation_scale" not in names(diagnose(env, trainer))


def test_ragged_infos_are_a_note() -> None:
    for make, ragged in ((Ragged, True), (Walk, False)):
        subject = subject_of(make)
        finding = ragged_infos(subject, play(subject))
        assert (finding is not None) == ragged
        if finding is not None:
            assert finding.note and finding.name in NAMES
