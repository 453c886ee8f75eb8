"""Many seeds by one program: each is what it would have become alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kpg
from kpg.trainers import KL, Histories, Population, grid
from tests.fragments import traces

Make = Callable[..., Any]
# Two members, whose programs have all of these as inputs.
OF_ALL: dict[str, Any] = {
    "gamma": [0.9, 0.99],
    "gae_lambda": [0.8, 0.95],
    "ent_coef": [0, 0.013],
    "vf_coef": [0.5, 0.37],
    "max_grad_norm": [0.5, 0.11],
    "learning_rate": [1e-2, 3e-3],
}
OF_PPO: dict[str, Any] = {
    "gamma": [0.9, 0.99],
    "clip_range": [0.1, 0.3],
    "value_clip_range": [0.2, 0.1],
    "dual_clip": [3.0, 1.5],
    "target_kl": [1e-4, 0.3],
    "desired_kl": [0.001, 0.02],
    "reference": [KL(0.1, target=0.01), KL(0.3, target=0.2)],
}
FULL: dict[str, Any] = {
    "normalize_observations": True,
    "normalize_rewards": True,
    "learning_rate_schedule": "linear",
}


def weights(trainer: Any) -> list[np.ndarray]:
    state = [*trainer.variables, *trainer.optimizer.variables]
    return [np.asarray(variable) for variable in state]


def timeless(history: Any) -> str:
    return repr({k: v for k, v in history.items() if k != "steps_per_second"})


def maker(algorithm: str, **arguments: Any) -> Callable[..., Any]:
    """Returns what makes trainers for CartPole-v1 by their seeds and settings."""

    def make(seed: int, learning_rate: float = 3e-4, **own: Any) -> Any:
        env = kpg.make("CartPole-v1")
        sizes: dict[str, Any] = {"hidden_units": (8,), "seed": seed}
        policy = kpg.models.Policy(env.observation_space, env.action_space, **sizes)
        critic = kpg.models.Critic(env.observation_space, **sizes)
        compiled = {"jit_compile": arguments.get("jit_compile", False)}
        settings = {k: v for k, v in arguments.items() if k not in compiled} | own
        kind = getattr(kpg.trainers, algorithm)
        trainer = kind(policy, critic, seed=seed, **settings)
        optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-5)
        trainer.compile(optimizer, steps_per_execution=2, **compiled)
        return trainer

    return make


@pytest.mark.parametrize(
    ("algorithm", "backend", "epochs", "settings", "varied"),
    [
        ("ActorCritic", "graph", 1, {"num_steps": 2, **FULL}, OF_ALL),
        pytest.param(
            *("ActorCritic", "graph", 1, {"num_steps": 2, **FULL}, None),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("ActorCritic", "gymnasium", 1, {"num_steps": 2, **FULL}, OF_ALL),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "PPO",
            "graph",
            2,
            {
                **{"num_steps": 4, "num_epochs": 2, "minibatch_size": 4, **FULL},
                "reference": KL(0.1, target=0.01),
            },
            None,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "PPO",
            "graph",
            2,
            {"num_steps": 4, "minibatch_size": 4, "jit_compile": True, **FULL},
            {"learning_rate": [1e-3, 1e-2]},
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.usefixtures("one_by_one")
def test_members_are_what_they_would_be_alone(
    algorithm: str, backend: Any, epochs: int, settings: Any, varied: Any
) -> None:
    make, seeds = maker(algorithm, **settings), [3] if varied else [3, 1]
    options: dict[str, Any] = {"epochs": epochs, "steps_per_epoch": 2, "verbose": 0}
    population = Population(make, seeds, varied)
    env = kpg.make("CartPole-v1", num_envs=2, backend=backend)
    # A host's episodes begin anew with each member.
    rounds = 2 if backend == "graph" else 1
    histories = [population.fit(env, **options) for _ in range(rounds)]
    validation = kpg.make("CartPole-v1", num_envs=2, seed=9)
    play: dict[str, Any] = {"episodes": 2, "max_steps": 3}
    returns = population.evaluate(validation, **play)
    for index, seed in enumerate(population.seeds):
        alone = make(seed, **population.settings[index])
        own = kpg.make("CartPole-v1", num_envs=2, backend=backend)
        for each in histories:
            wanted = alone.fit(own, **options).history
            assert timeless(each.members[index].history) == timeless(wanted)
        member = population.members[index]
        for got, want in zip(weights(member), weights(alone), strict=True):
            np.testing.assert_array_equal(got, want)
        assert (member.seed, member.effective_seed) == (seed, alone.effective_seed)
        assert member.settings == alone.settings
        assert member.env_steps == alone.env_steps > 0
        np.testing.assert_array_equal(
            returns[index]["returns"], alone.evaluate(validation, **play)["returns"]
        )
    first, second = (weights(member) for member in population.members)
    assert any(not np.array_equal(*pair) for pair in zip(first, second, strict=True))


def test_all_members_share_one_trace_and_callbacks_are_each_ones_own() -> None:
    population = Population(maker("ActorCritic", num_steps=2), 3)
    env, seen = kpg.make("CartPole-v1", num_envs=2), []

    class Seen(keras.callbacks.Callback):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.seed = seed

        def on_train_end(self, logs: Any = None) -> None:
            seen.append((self.seed, self.model.seed, int(self.model.iteration)))

    options: dict[str, Any] = {"steps_per_epoch": 2, "verbose": 0}
    population.fit(env, callbacks=Seen, **options)
    assert seen == [(0, 0, 2), (1, 1, 2), (2, 2, 2)]
    assert traces(population._seat.trainer) == 1
    population.members[1].fit(env, **options)
    assert [member.env_steps for member in population.members] == [8, 16, 8]
    early = keras.callbacks.EarlyStopping("return", patience=0, mode="max")
    assert len(population.fit(env, callbacks=early, epochs=2, **options).members) == 3


@pytest.mark.usefixtures("one_by_one")
def test_members_keep_their_history_and_begin_anew_elsewhere() -> None:
    make, options = maker("ActorCritic", num_steps=2), {"steps_per_epoch": 1}
    several, alone = Population(make, 2), make(1)
    envs = [kpg.make("CartPole-v1", num_envs=count) for count in (2, 4)]
    for env in (*envs, envs[0]):
        several.fit(env, verbose=0, **options)
        alone.fit(env, verbose=0, **options)
    for got, want in zip(weights(several.members[1]), weights(alone), strict=True):
        np.testing.assert_array_equal(got, want)
    kept = [member.history for member in several.members]
    several.evaluate(envs[0], episodes=2, max_steps=2)
    assert [member.history for member in several.members] == kept
    assert kept[0] is not kept[1]


def test_histories_are_tables_with_means_and_intervals() -> None:
    members = []
    for returns in ([1.0, 2.0, 6.0], [3.0, 4.0, 2.0], [5.0, 6.0]):
        member = keras.callbacks.History()
        member.history = {"val_return": returns}
        members.append(member)
    histories = Histories(members[:2])
    np.testing.assert_array_equal(histories.mean("val_return"), [2.0, 3.0, 4.0])
    np.testing.assert_allclose(
        histories.margin("val_return"),
        [kpg.results.margin(pair) for pair in ([1.0, 3.0], [2.0, 4.0], [6.0, 2.0])],
    )
    assert (histories.best(), histories.best(mode="min")) == (0, 1)
    table = Histories(members).history["val_return"]
    assert table.shape == (3, 3) and np.isnan(table[2, 2])


def test_what_is_no_population_is_refused(make_trainer: Make) -> None:
    make = maker("ActorCritic", num_steps=2)
    for seeds, words in ((0, "at least 1"), ([], "different"), ([1, 1], "different")):
        with pytest.raises(ValueError, match=words):
            Population(make, seeds)
    for settings, words in (
        ({"gamma": [0.9, 0.8], "ent_coef": [0.1]}, "one length"),
        ([{"gamma": 0.9}, {"gamma": 0.9}], "different ones"),
        ([], "at least one"),
    ):
        with pytest.raises(ValueError, match=words):
            Population(make, settings=settings)
    one = make(0)
    with pytest.raises(ValueError, match="a new one each time"):
        Population(lambda seed: one, 2)
    uncompiled = kpg.trainers.REINFORCE(one.policy)
    with pytest.raises(ValueError, match="compiled trainer"):
        Population(lambda seed: uncompiled, 2)


@pytest.mark.parametrize(
    ("algorithm", "settings", "varied"),
    [
        ("ActorCritic", {"num_steps": 2, "normalize_rewards": True}, OF_ALL),
        pytest.param(
            "PPO",
            {
                **{"num_steps": 4, "num_epochs": 2, "minibatch_size": 4, **FULL},
                **{"learning_rate_schedule": "adaptive_kl"},
            },
            OF_PPO,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_numbers_are_inputs_of_one_graph_and_make_what_constants_do(
    algorithm: str, settings: Any, varied: Any
) -> None:
    make = maker(algorithm, **settings)
    options: dict[str, Any] = {"steps_per_epoch": 2, "verbose": 0}
    population = Population(make, [3], varied)
    population.fit(kpg.make("CartPole-v1", num_envs=2), **options)
    assert traces(population._seat.trainer) == 1
    for member, own in zip(population.members, population.settings, strict=True):
        alone = make(3, **own)
        alone.fit(kpg.make("CartPole-v1", num_envs=2), **options)
        for got, want in zip(weights(member), weights(alone), strict=True):
            np.testing.assert_array_equal(got, want)


def test_members_are_lists_of_settings_with_each_seed() -> None:
    assert grid(a=[1, 2], b=[3]) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]
    make = maker("ActorCritic", num_steps=2)
    population = Population(make, [4, 5], grid(gamma=[0.5, 0.75]))
    assert population.seeds == [4, 5, 4, 5]
    assert [row["gamma"] for row in population.settings] == [0.5, 0.5, 0.75, 0.75]
    assert [own.settings.gamma for own in population.members] == [0.5, 0.5, 0.75, 0.75]
    assert [own.seed for own in population.members] == [4, 5, 4, 5]


@pytest.mark.slow
def test_with_xla_members_are_what_they_are_among_others() -> None:
    settings = {**FULL, "num_steps": 8, "num_epochs": 2, "minibatch_size": 8}
    make = maker("PPO", jit_compile=True, **settings)
    rows: list[dict[str, Any]] = [
        {"gamma": gamma, "vf_coef": 1 - gamma, "clip_range": gamma / 5}
        for gamma in (0.8, 0.9, 0.95)
    ]
    options: dict[str, Any] = {"epochs": 2, "steps_per_epoch": 2, "verbose": 0}
    found = []
    for chosen in (rows[:2], rows[:0:-1]):
        population = Population(make, settings=chosen)
        population.fit(kpg.make("CartPole-v1", num_envs=2), **options)
        found.append(weights(population.members[chosen.index(rows[1])]))
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    alone = make(0, **rows[1])
    alone.fit(kpg.make("CartPole-v1", num_envs=2), **options)
    for one, two in zip(found[0], weights(alone), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
