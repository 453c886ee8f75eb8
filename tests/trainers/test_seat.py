"""What members of a population may not differ in, since one program serves them."""

from __future__ import annotations

from typing import Any

import keras
import pytest

import kpg
from kpg.trainers.seat import Seat
from tests.trainers.test_population import maker


@pytest.fixture(scope="module")
def first() -> Any:
    """A trainer that others are compared with."""
    return maker("PPO", num_steps=4, minibatch_size=4)(0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_steps": 8}, r"`num_steps` must be equal.*num_steps=4.*num_steps=8"),
        ({"max_grad_norm": None}, "max_grad_norm=0.5.*max_grad_norm=None"),
        ({"target_kl": 0.1}, "target_kl=None.*target_kl=0.1"),
        ({"advantage": "td_error"}, "advantage=TDError"),
        ({"normalize_rewards": True}, "normalize_rewards=True"),
        ({"reference_kl_coef": 0.1}, "`reference` must be equal"),
    ],
)
def test_settings_that_programs_are_made_of_are_refused_by_name(
    first: Any, settings: dict[str, Any], words: str
) -> None:
    other = maker("PPO", **{"num_steps": 4, "minibatch_size": 4, **settings})(1)
    with pytest.raises(ValueError, match=words):
        Seat(first, [other])


def test_other_optimizers_weights_and_algorithms_are_refused(
    first: Any,
) -> None:
    other = maker("PPO", num_steps=4, minibatch_size=4)(1)
    other.compile(keras.optimizers.Adam(1e-3, beta_1=0.5), 2, False)
    with pytest.raises(ValueError, match=r"optimizer\.beta_1=0\.9.*beta_1=0\.5"):
        Seat(first, [other])
    env = kpg.make("Acrobot-v1")
    models: Any = [
        kpg.models.Policy(env.observation_space, env.action_space, hidden_units=(8,)),
        kpg.models.Critic(env.observation_space, hidden_units=(8,)),
    ]
    wide = kpg.trainers.PPO(*models, num_steps=4, minibatch_size=4)
    wide.compile(keras.optimizers.Adam(epsilon=1e-5), 2, False)
    with pytest.raises(ValueError, match="`weights` must be equal"):
        Seat(first, [wide])
    with pytest.raises(ValueError, match="one kind of trainer"):
        Seat(first, [maker("ActorCritic")(0)])


def test_a_number_that_decides_what_is_computed_is_refused_before_training() -> None:
    make = maker("PPO", num_steps=4, minibatch_size=4)
    population = kpg.trainers.Population(make, settings={"kl_coef": [0.0, 0.1]})
    with pytest.raises(ValueError, match=r"`kl_coef` decides what.*\[0\.0, 0\.1\]"):
        population.fit(kpg.make("CartPole-v1", num_envs=2), verbose=0)
    assert [member.env_steps for member in population.members] == [0, 0]
