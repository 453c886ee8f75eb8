"""Many seeds by one program: each is what it would have become alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kpg
from kpg.trainers import Histories, Population
from tests.fragments import traces

Make = Callable[..., Any]
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


def maker(algorithm: str, **arguments: Any) -> Callable[[int], Any]:
    """Returns what makes trainers for CartPole-v1 by their seeds."""

    def make(seed: int) -> Any:
        env = kpg.make("CartPole-v1")
        sizes: dict[str, Any] = {"hidden_units": (8,), "seed": seed}
        policy = kpg.models.Policy(env.observation_space, env.action_space, **sizes)
        critic = kpg.models.Critic(env.observation_space, **sizes)
        compiled = {"jit_compile": arguments.get("jit_compile", False)}
        settings = {k: v for k, v in arguments.items() if k not in compiled}
        kind = getattr(kpg.trainers, algorithm)
        trainer = kind(policy, critic, seed=seed, **settings)
        trainer.compile(steps_per_execution=2, **compiled)
        return trainer

    return make


@pytest.mark.parametrize(
    ("algorithm", "backend", "epochs", "settings"),
    [
        ("ActorCritic", "graph", 1, {"num_steps": 2, **FULL}),
        pytest.param(
            *("ActorCritic", "gymnasium", 1, {"num_steps": 2, **FULL}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "PPO",
            "graph",
            2,
            {
                **{"num_steps": 4, "num_epochs": 2, "minibatch_size": 4, **FULL},
                "reference": kpg.trainers.KL(0.1, target=0.01),
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "PPO",
            "graph",
            2,
            {"num_steps": 4, "minibatch_size": 4, "jit_compile": True, **FULL},
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.usefixtures("one_by_one")
def test_members_are_what_they_would_be_alone(
    algorithm: str, backend: Any, epochs: int, settings: dict[str, Any]
) -> None:
    make, seeds = maker(algorithm, **settings), [3, 1]
    options: dict[str, Any] = {"epochs": epochs, "steps_per_epoch": 2, "verbose": 0}
    population = Population(make, seeds)
    env = kpg.make("CartPole-v1", num_envs=2, backend=backend)
    # A host's episodes begin anew with each member.
    rounds = 2 if backend == "graph" else 1
    histories = [population.fit(env, **options) for _ in range(rounds)]
    validation = kpg.make("CartPole-v1", num_envs=2, seed=9)
    play: dict[str, Any] = {"episodes": 2, "max_steps": 3}
    returns = population.evaluate(validation, **play)
    for index, seed in enumerate(seeds):
        alone = make(seed)
        own = kpg.make("CartPole-v1", num_envs=2, backend=backend)
        for each in histories:
            wanted = alone.fit(own, **options).history
            assert timeless(each.members[index].history) == timeless(wanted)
        member = population.members[index]
        for got, want in zip(weights(member), weights(alone), strict=True):
            np.testing.assert_array_equal(got, want)
        assert (member.seed, member.effective_seed) == (seed, alone.effective_seed)
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
    assert traces(population._seat) == 1
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
    one = make(0)
    with pytest.raises(ValueError, match="a new one each time"):
        Population(lambda seed: one, 2)
    uncompiled = kpg.trainers.REINFORCE(one.policy)
    with pytest.raises(ValueError, match="compiled trainer"):
        Population(lambda seed: uncompiled, 2)
    with pytest.raises(
        ValueError, match=r"`settings` of the.*num_steps=2.*num_steps=3"
    ):
        Population(lambda seed: maker("ActorCritic", num_steps=2 + seed)(seed), 2)
    wide = make_trainer("ActorCritic", num_steps=2)
    several = iter([wide, make(0)])
    with pytest.raises(ValueError, match="must be equal, apart from learning rates"):
        Population(lambda seed: next(several), 2)
