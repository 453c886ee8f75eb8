"""The doctor as a whole."""

from __future__ import annotations

from typing import Any

import pytest

import kpg
from kpg.doctor import NAMES, diagnose
from kpg.trainers import Finding
from tests.faulty_environments import (
    Masked,
    NaNReward,
    NoLegalAction,
    WrongDtype,
    names,
    trainer_for,
)


def test_faults_of_the_data_are_told_together() -> None:
    class Both(NaNReward, WrongDtype):
        pass

    assert names(diagnose(Both())) == ["observation_dtype", "non_finite_rewards"]


@pytest.mark.slow
def test_legal_actions_are_played_where_there_is_a_mask() -> None:
    class Strict(NoLegalAction):
        forbidden = (0, 1)

        def step(self, action: Any) -> Any:
            if 0 < self.steps != 3 and action == 1:
                raise RuntimeError("illegal")
            if self.steps == 3 and action == 0:
                raise RuntimeError("illegal")
            return super().step(action)

    # A policy that does not see the mask is another matter.
    findings = diagnose(Strict(), trainer_for(Strict()))
    assert [finding.name for finding in findings] == ["mask_in_info", "training_fails"]
    assert findings[1].words == "RuntimeError: illegal"

    def masked() -> Any:
        return kpg.environments.ActionMaskFromInfo(Masked())

    assert diagnose(masked) == []


@pytest.mark.parametrize("wrong", [3, "CartPole-v1", lambda: 3])
def test_what_is_no_environment_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Received"):
        diagnose(wrong)


def test_findings_have_known_names() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert type(diagnose(NaNReward())[0]) is Finding
