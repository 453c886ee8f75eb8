"""One copy of a vector environment as Gymnasium's checker wants a plain one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from kpg.environments import ControlledGeneration, SingleEnv
from tests.texts import gpt2, policy

pytestmark = pytest.mark.usefixtures("one_by_one")


def length(prompts: Any, completions: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def vector(**options: Any) -> ControlledGeneration:
    executor = policy("abc", gpt2(5, num_layers=1, hidden_dim=8))
    given = {
        "autoreset_mode": AutoresetMode.DISABLED,
        "num_envs": 1,
        "jit_compile": False,
        **options,
    }
    prompts = ["ab", "cab"]
    return ControlledGeneration(
        executor, prompts, rewards=[length], max_new_tokens=3, **given
    )


# Hidden features and log-probabilities have no bounds.
@pytest.mark.filterwarnings("ignore:.*infinity. This is probably too:UserWarning")
@pytest.mark.parametrize("interaction", ["one_way", "two_way"])
def test_gymnasium_checks_it(interaction: str) -> None:
    control = "bias" if interaction == "one_way" else "instructions"
    env = SingleEnv(vector(interaction=interaction, control=control))
    check_env(env, skip_render_check=True, skip_close_check=True)
    env.close()


def test_plays_one_episode_after_another() -> None:
    env = SingleEnv(vector(control="token"))
    for _ in range(2):
        observation, info = env.reset(seed=1)
        assert observation in env.observation_space and info == {}
        # Token 1 ends a text, and token 2 is a letter.
        steps = [env.step(np.int64(2)) for _ in range(2)]
        assert all(reward == 0.0 and not info for _, reward, *_, info in steps)
        observation, reward, terminated, truncated, info = env.step(1)
        assert observation["last_token"] == 1 and observation["step"] == 1.0
        assert terminated and not truncated
        assert reward == len(info["completion"]) == 2.0


@pytest.mark.parametrize(
    "options", [{"num_envs": 2}, {"autoreset_mode": AutoresetMode.SAME_STEP}]
)
def test_refuses_several_copies_and_resets(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Received: num_envs=.*autoreset_mode="):
        SingleEnv(vector(**options))
