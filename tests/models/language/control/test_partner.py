"""An executor that learns with its policy: against all that the two can do."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg import text
from kpg.environments import ControlledGeneration, HostEnvironment, TextGeneration
from kpg.models import CausalLMPolicy
from kpg.trainers.acting.host import HostCollector
from kpg.trainers.learning.estimation import Estimation
from kpg.trainers.learning.iteration import Learner
from kpg.trajectories import Trajectory
from tests import seq2seq
from tests.fragments import values_of
from tests.languages import stir
from tests.steering import ALGORITHMS as STEERING
from tests.steering import generation, seen_by
from tests.steering import models as indifferent
from tests.text_training import one_fast
from tests.texts import gpt2, policy

END, A, ROOM = 1, 2, 2
STRENGTH, SHARPNESS = 1.5, 2.0
CONTINUE, STOP, SHARPEN, BOOST, INSERT = range(5)
Path = list[tuple[int, int]]


def paths(path: Path, count: int = 0) -> Iterator[Path]:
    """Yields every episode that goes on from here, as actions with their tokens."""
    if count >= ROOM or (path and path[-1][1] == END):
        yield path
        return
    for action in range(5):
        for token in {STOP: [END], INSERT: [A]}.get(action, [0, END, A]):
            room = ROOM if action == INSERT else 1
            yield from paths([*path, (action, token)], count + room)


PATHS = list(paths([]))


@functools.cache
def worth(word: tuple[int, ...]) -> float:
    """Returns what a completion is rewarded with."""
    return float(np.random.default_rng(list(word)).normal())


def paid(prompts: Any, completions: Any, completion_ids: Any) -> list[float]:
    return [worth(tuple(map(int, ids))) for ids in completion_ids]


class Case(NamedTuple):
    """A trainer, and all episodes of its policy and its executor side by side."""

    trainer: Any
    env: Any
    rows: Trajectory


def small() -> CausalLMPolicy:
    return policy("a", gpt2(3, num_layers=1, hidden_dim=8), temperature=0.8)


def models(env: Any, **options: Any) -> tuple[Any, Any]:
    """Returns a policy and a critic that are far from indifferent."""
    spaces = (env.single_observation_space, env.single_action_space)
    small = {"hidden_units": (8,), "seed": 0, **options}
    actor = kpg.models.Policy(*spaces, **small)
    critic = kpg.models.Critic(spaces[0], **small)
    for model in (actor, critic):
        stir(model, scale=0.3)
    return actor, critic


def teaching(env: Any, algorithm: str, **settings: Any) -> Any:
    """Returns a compiled trainer of plain gradients that teaches the executor, too."""
    actor, critic = models(env, **settings.pop("model", {}))
    critic = None if algorithm == "REINFORCE" else critic
    plain = {"gamma": 1.0, "normalize_advantages": False, "max_grad_norm": None}
    given = {"num_steps": ROOM, "seed": 0, **plain, **settings}
    if algorithm == "PPO":
        given = {"gae_lambda": 1.0, "num_epochs": 1, "minibatch_size": ROOM, **given}
    trainer = getattr(kpg.trainers, algorithm)(
        actor, critic, executor=env.executor, **given
    )
    rates = {"executor_optimizer": keras.optimizers.SGD(0.1), "jit_compile": False}
    trainer.compile(keras.optimizers.SGD(0.1), **rates)
    return trainer


def played(algorithm: str, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Case:
    """Plays every path in a copy of its own; what would be sampled is dictated."""
    env = ControlledGeneration(
        small(),
        ["aa"],
        rewards=[paid],
        interaction="one_way",
        word_classes={"x": ["a"]},
        phrases=["aa"],
        strength=STRENGTH,
        sharpness=SHARPNESS,
        max_new_tokens=ROOM,
        num_envs=len(PATHS),
        jit_compile=False,
    )
    dictated = tf.Variable(np.zeros(len(PATHS), np.int32))
    monkeypatch.setattr(env._steering, "_chosen", lambda *_: tf.identity(dictated))
    trainer = teaching(env, algorithm, **settings)
    partner, host = env.partner(), HostEnvironment(env, seed=0)
    observations = host.reset()
    steps: list[Trajectory] = []
    for step in range(ROOM):
        pairs = [(path + [(CONTINUE, 0)] * ROOM)[step] for path in PATHS]
        actions, tokens = np.array(pairs, np.int32).T
        dictated.assign(tokens)
        result = host.step(actions)
        seen = tf.nest.map_structure(tf.constant, observations)
        valid = np.array([step < len(path) for path in PATHS])
        row = Trajectory(
            observations=observations,
            actions=actions,
            log_probs=trainer.policy.log_prob(seen, actions),
            rewards=result.rewards,
            terminated=result.terminated,
            truncated=result.truncated,
            valid=valid,
            next_observations=result.next_observations,
            turns=partner.turn,
        )
        last = np.array([step == len(path) - 1 for path in PATHS])
        np.testing.assert_array_equal(result.terminated[valid], last[valid])
        observations, steps = result.observations, [*steps, row]
    rows = tf.nest.map_structure(lambda *parts: tf.stack(parts), *steps)
    return Case(trainer, env, rows)


def words(path: Path) -> list[tuple[int, ...]]:
    """Returns what is written before each step of a path, and in the end."""
    written: list[tuple[int, ...]] = [()]
    for action, token in path:
        new = (A, A) if action == INSERT else (token,)
        written.append((*written[-1], *new)[:ROOM])
    return written


def chances(case: Case) -> list[tf.Tensor]:
    """Returns the probability of each path, by the policy and KerasHub's model."""
    made, logits = case.env.executor, {}
    for word in [(), (0,), (A,)]:
        tokens = tf.constant([[A, A, *word]])
        inputs = {"token_ids": tokens, "padding_mask": tf.ones_like(tokens)}
        logits[word] = made.trunk.causal_lm(inputs)[0, -1] / made.temperature
    own = []
    for step in range(ROOM):
        seen = tf.nest.map_structure(
            lambda part, step=step: part[step], case.rows.observations
        )
        chosen = case.rows.actions[step]
        own.append(case.trainer.policy.distribution(seen).prob(chosen))

    def theirs(word: tuple[int, ...], action: int, token: int) -> Any:
        bent = {
            CONTINUE: logits[word],
            SHARPEN: SHARPNESS * logits[word],
            BOOST: logits[word] + STRENGTH * tf.one_hot(A, 3),
        }
        return tf.nn.softmax(bent[action])[token] if action in bent else 1.0

    return [
        tf.reduce_prod(
            [
                own[step][column] * theirs(word, *pair)
                for step, (word, pair) in enumerate(
                    zip(words(path), path, strict=False)
                )
            ]
        )
        for column, path in enumerate(PATHS)
    ]


def exact(case: Case) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns the probability of each path, and the gradients of Σ p·R."""
    variables = [*case.trainer.policy.trainable_variables]
    variables += case.env.executor.trainable_variables
    rewards = tf.constant([worth(words(path)[-1]) for path in PATHS])
    with tf.GradientTape() as tape:
        probs = tf.stack(chances(case))
        expected = tf.reduce_sum(probs * rewards)
    np.testing.assert_allclose(tf.reduce_sum(probs), 1.0, atol=1e-5)
    gradients = tape.gradient(expected, [variable.value for variable in variables])
    return probs.numpy(), [tf.convert_to_tensor(part).numpy() for part in gradients]


def expected(case: Case, probs: np.ndarray) -> list[np.ndarray]:
    """Returns the mean of what the trainer takes for the gradient."""
    learner = Learner(case.trainer.training_on(1, case.env.partner()))
    estimation, descent = learner.estimation, learner.descent

    @tf.function(autograph=False)
    def gradients(rows: Trajectory) -> Any:
        batch, *_ = estimation.batch(estimation.with_log_probs(rows), ())
        order = tf.range(ROOM)[tf.newaxis]
        return descent._gradients(batch, order, 0, tf.constant(0.0))[0]

    totals: dict[int, Any] = {}
    for column, prob in enumerate(probs):
        rows = tf.nest.map_structure(
            lambda part, column=column: part[:, column, tf.newaxis], case.rows
        )
        # The loss is a mean over the steps, and falls where rewards rise.
        scale = -len(PATHS[column]) * prob
        for index, part in enumerate(gradients(rows)):
            totals[index] = totals.get(index, 0.0) + scale * tf.convert_to_tensor(part)
    total = [totals[index] for index in sorted(totals)]
    critic = case.trainer.critic
    own = len(case.trainer.policy.trainable_variables)
    theirs = own + (0 if critic is None else len(critic.trainable_variables))
    return [part.numpy() for part in total[:own] + total[theirs:]]


ALGORITHMS: list[tuple[str, dict[str, Any]]] = [
    ("REINFORCE", {"baseline": "none"}),
    ("ActorCritic", {"gae_lambda": 1.0}),
    ("PPO", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "settings"), one_fast(ALGORITHMS))
def test_both_follow_the_gradient_of_the_expected_reward(
    algorithm: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = played(algorithm, monkeypatch, **settings)
    probs, wanted = exact(case)
    got = expected(case, probs)
    assert len(got) == len(wanted)
    for ours, want in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, want, atol=1e-5)
    executor = len(case.env.executor.trainable_variables)
    assert max(np.abs(part).max() for part in wanted[-executor:]) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ["forced", "bent"])
def test_a_wrong_gradient_is_found(
    mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that nobody chose count; or the executor is taken for uncontrolled."""
    case = played("REINFORCE", monkeypatch, baseline="none")
    probs, wanted = exact(case)
    wrong = {
        "forced": lambda actions: -tf.ones_like(actions),
        "bent": lambda parameters, actions, states: parameters,
    }
    monkeypatch.setattr(case.env._steering, mutant, wrong[mutant])
    errors = zip(expected(case, probs), wanted, strict=True)
    assert max(np.abs(ours - want).max() for ours, want in errors) > 0.01


@pytest.mark.usefixtures("one_by_one")
def test_a_ratio_is_that_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """V-trace sees no difference between what the one or the other made likelier."""
    bars = {"clip_rho": 100.0, "clip_c": 100.0, "num_epochs": 2}
    case = played("ActorCritic", monkeypatch, advantage="vtrace", **bars)
    training = case.trainer.training_on(len(PATHS), case.env.partner())
    estimation = Estimation(training)
    rows = estimation.with_log_probs(case.rows)
    turns, before = rows.turns
    shifts = [
        rows,
        rows._replace(log_probs=rows.log_probs - 0.5),
        rows._replace(turns=(turns, before - 0.5)),
    ]
    gains = [estimation.batch(shifted, ())[0].advantages for shifted in shifts]
    np.testing.assert_allclose(gains[1], gains[2], rtol=1e-5)
    assert np.abs(gains[0] - gains[1]).max() > 0.1


@pytest.mark.usefixtures("one_by_one")
def test_an_executor_that_changed_reads_all_texts_again() -> None:
    made = policy("abc", gpt2(5, num_layers=1, hidden_dim=8))
    env = generation(made, phrases=["ca"])
    partner = env.partner()
    assert env.partner() is partner
    with pytest.raises(ValueError, match="no reset so far"):
        env.step(np.zeros(4, int))
    env.reset(seed=0)
    env.step(np.array([CONTINUE, CONTINUE, 3, CONTINUE]))
    env.step(np.array([CONTINUE, STOP, CONTINUE, 3]))
    before = env._observations()["features"]
    stir(made, scale=0.1)
    partner.refresh()
    texts, now = env._texts, env._observations()
    assert np.abs(now["features"] - before).max() > 0.01
    log_probs = tf.nn.log_softmax(env._writer._parameters).numpy()
    for row in range(4):
        want = seen_by(made, texts.tokens[row, : texts.lengths[row]])
        for name in ("entropy", "features", "top_log_probs"):
            np.testing.assert_allclose(now[name][row], want[name], atol=1e-4)
        sampled = np.sort(log_probs[row])[::-1]
        np.testing.assert_allclose(sampled, want["top_log_probs"], atol=1e-4)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    "kind", ["causal", pytest.param("seq2seq", marks=pytest.mark.slow)]
)
def test_a_turn_is_what_was_written_behind_what(kind: str) -> None:
    made = seq2seq.policy("abc") if kind == "seq2seq" else policy("abc", gpt2(5))
    env = generation(made, control="bias")
    actor, _ = models(env)
    partner = env.partner()
    collector = HostCollector(HostEnvironment(env, seed=0), actor, 6, partner=partner)
    rows, _ = collector.collect(np.array([1, 2], np.int32))
    turns = rows.turns
    written = rows.next_observations["last_token"]
    np.testing.assert_array_equal(turns.tokens, written)
    np.testing.assert_array_equal(turns.actions, np.clip(rows.actions, -1, 1))
    log_probs = partner.log_probs(tf.nest.map_structure(tf.constant, turns))
    assert log_probs.shape == (6, 4) and rows.terminated.any()
    for step, row in np.ndindex(6, 4):
        length = turns.lengths[step, row]
        tokens = turns.texts[step, row, :length]
        if kind == "seq2seq":
            first = turns.prompts[step, row]
            logits = seq2seq.read_by(made, tokens[:first], [*tokens[first:], 0])[-1]
        else:
            inputs = {"token_ids": tokens[np.newaxis]}
            inputs["padding_mask"] = np.ones_like(inputs["token_ids"])
            logits = made.trunk.causal_lm(inputs)[0, -1]
        bent = tf.nn.log_softmax(logits + 5.0 * turns.actions[step, row])
        want = bent[turns.tokens[step, row]]
        np.testing.assert_allclose(log_probs[step, row], want, atol=1e-4)


def taught(algorithm: str, made: Any, **settings: Any) -> tuple[Any, Any]:
    """Returns a trainer and texts of a byte-level executor."""
    options = settings.pop("env", {})
    env = generation(made, **{"prompts": ["aa", "a"], **options})
    if algorithm == "PPO":
        settings = {"num_epochs": 2, "minibatch_size": 10, **settings}
    return teaching(env, algorithm, num_steps=5, **settings), env


def bytes_gpt2() -> CausalLMPolicy:
    lm = text.gpt2(258, num_layers=1, hidden_dim=8, max_tokens=16, seed=0)
    return CausalLMPolicy(lm, text.ByteTokenizer())


@pytest.mark.slow
def test_both_are_saved_and_go_on(tmp_path: Any) -> None:
    trainer, env = taught("PPO", bytes_gpt2(), env={"phrases": ["ab"]})
    parts = (trainer.policy, trainer.critic, trainer.executor)
    before = [values_of(part.trainable_variables) for part in parts]
    history = trainer.fit(env, steps_per_epoch=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    for start, part in zip(before, parts, strict=True):
        pairs = zip(start, values_of(part.trainable_variables), strict=True)
        assert any(not np.array_equal(old, new) for old, new in pairs)
    trainer.save(tmp_path / "trainer.keras")
    loaded: Any = kpg.load(tmp_path / "trainer.keras")
    assert loaded.executor_optimizer.learning_rate == 0.1
    for one in (trainer, loaded):
        again = generation(one.executor, prompts=["aa", "a"], phrases=["ab"])
        one.fit(again, steps_per_epoch=1, verbose=0)
    pairs = zip(values_of(trainer.weights), values_of(loaded.weights), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("ActorCritic", {"control": "bias", "interaction": "one_way"}),
        ("REINFORCE", {"autoreset_mode": "NextStep"}),
    ],
)
def test_a_policy_with_a_memory_teaches_too(
    algorithm: str, options: dict[str, Any]
) -> None:
    model = {"memory": "gru"}
    trainer, env = taught(algorithm, bytes_gpt2(), env=options, model=model)
    before = values_of(trainer.executor.trainable_variables)
    history = trainer.fit(env, steps_per_epoch=2, verbose=0).history
    assert np.isfinite(history["loss"]).all() and history["episodes"][0] > 0
    assert trainer.function.experimental_get_tracing_count() == 1
    after = values_of(trainer.executor.trainable_variables)
    assert any(not np.array_equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.usefixtures("one_by_one")
def test_each_moves_by_its_own_rate() -> None:
    trainer, env = taught("REINFORCE", small(), env={"num_envs": 16})
    trainer.executor_optimizer.learning_rate = 0.0
    before = values_of(trainer.executor.trainable_variables)
    start = values_of(trainer.policy.trainable_variables)
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    after = values_of(trainer.executor.trainable_variables)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    moved = zip(start, values_of(trainer.policy.trainable_variables), strict=True)
    assert any(not np.array_equal(*pair) for pair in moved)


@pytest.mark.usefixtures("one_by_one")
def test_refuses_what_cannot_learn() -> None:
    frozen = bytes_gpt2()
    frozen.trunk.trainable = False
    with pytest.raises(ValueError, match="Received: executor=.*all frozen"):
        taught("REINFORCE", frozen)
    for options in ({"control": "token"}, {"deterministic": True}):
        trainer, env = taught("REINFORCE", bytes_gpt2(), env=options)
        with pytest.raises(ValueError, match="learns from tokens that it samples"):
            trainer.fit(env, verbose=0)


@pytest.mark.usefixtures("one_by_one")
def test_refuses_an_optimizer_without_an_executor_and_the_reverse() -> None:
    trainer, env = taught("REINFORCE", bytes_gpt2())
    with pytest.raises(ValueError, match="Received: executor=.*optimizer=None"):
        trainer.compile("sgd")
    alone = kpg.trainers.REINFORCE(models(env)[0], num_steps=5)
    with pytest.raises(ValueError, match="Received: executor=None, executor_opt.*adam"):
        alone.compile("sgd", executor_optimizer="adam")


@pytest.mark.usefixtures("one_by_one")
def test_refuses_another_executor_and_none() -> None:
    trainer, _ = taught("REINFORCE", bytes_gpt2())
    with pytest.raises(ValueError, match="Received: one of another executor"):
        trainer.fit(generation(bytes_gpt2(), prompts=["aa", "a"]), verbose=0)
    task = TextGeneration(["ab"], rewards=[paid], max_new_tokens=5)
    with pytest.raises(ValueError, match="Received: one without executor"):
        trainer.fit(task, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "settings"), STEERING)
def test_the_reward_rises_where_only_the_executor_can_raise_it(
    algorithm: str, settings: dict[str, Any]
) -> None:
    def vowels(prompts: Any, completions: Any) -> list[float]:
        return [line.count("a") / 5 for line in completions]

    made = policy("abc", gpt2(5, num_layers=1, hidden_dim=8))
    env = generation(made, rewards=[vowels], num_envs=32)
    settings = {**settings, "num_steps": 10, "gamma": 1.0, "seed": 0}
    if algorithm == "PPO":
        settings["minibatch_size"] = 80
    trainer = getattr(kpg.trainers, algorithm)(
        *indifferent(env), executor=made, **settings
    )
    rates: dict[str, Any] = {"executor_optimizer": keras.optimizers.Adam(0.01)}
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False, **rates)
    before = trainer.evaluate(env, episodes=128, deterministic=False)["return"]
    trainer.fit(env, steps_per_epoch=60, verbose=0)
    after = trainer.evaluate(env, episodes=128, deterministic=False)["return"]
    assert after > 0.9 > 0.6 > before
