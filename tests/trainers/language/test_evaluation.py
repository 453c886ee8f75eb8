"""Every prompt has its turn in an evaluation, and the last call is filled up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kpg.trainers.language.evaluation import TextEvaluator
from tests.text_training import T, small_policy, task, vowels


@pytest.mark.parametrize("deterministic", [False, True])
def test_as_many_episodes_as_are_asked_for(deterministic: bool) -> None:
    made, env = small_policy("abc"), task([vowels], num_envs=4)
    evaluator = TextEvaluator(env, made, 6, deterministic, False)
    result: Any = evaluator.run(0)
    assert result["episodes"] == 6 and len(result["returns"]) == 6
    assert result["reward/vowels"] == pytest.approx(result["return"], abs=1e-5)
    assert evaluator.run(0)["return"] == result["return"]
    if deterministic:
        prompts = [env.prompts[number % 3] for number in range(6)]
        texts = made.generate(prompts, T, deterministic=True)
        np.testing.assert_allclose(result["returns"], vowels([], texts), atol=1e-6)
