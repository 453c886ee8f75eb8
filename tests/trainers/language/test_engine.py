"""The three trainers on texts: exact gradients, and nothing after the end counts."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

import kpg
import kpg.rewards
from kpg import text
from kpg.models import CausalLMPolicy
from kpg.models.language.decoding.gpt2 import GPT2Decoder
from kpg.trainers import Checkpoint
from kpg.trainers.language.engine import TextEngine
from kpg.trajectories import Trajectory, resets
from tests.fragments import (
    batch_of,
    collected,
    decoder_of,
    learn,
    traces,
    values_of,
)
from tests.resuming import Crash, Crashes, assert_equal, fit
from tests.text_training import (
    ALGORITHMS,
    T,
    expected_reward,
    gradient_of,
    make_trainer,
    noisy,
    one_fast,
    remainder,
    small_policy,
    task,
)
from tests.texts import policy, stirred


def fragment(prompt: list[int], word: tuple[int, ...], reward: float) -> Trajectory:
    """Returns one completion as a trajectory, with nothing known of its values."""
    tokens = np.zeros([T, 1], np.int32)
    tokens[: len(word), 0] = word
    steps = np.arange(T)[:, np.newaxis]
    state = (tf.constant([prompt[:-1]]), tf.constant([len(prompt) - 1]))
    last = steps == len(word) - 1
    return Trajectory(
        observations=tf.constant(np.concatenate([[[prompt[-1]]], tokens[:-1]])),
        actions=tf.constant(tokens),
        log_probs=tf.zeros([T, 1]),
        rewards=tf.constant(np.where(last, reward, 0.0), tf.float32),
        terminated=tf.constant(last),
        truncated=tf.zeros([T, 1], tf.bool),
        valid=tf.constant(steps < len(word)),
        next_observations=(),
        policy_state=state,
        critic_state=state,
    )


@pytest.mark.parametrize(("algorithm", "settings"), one_fast(ALGORITHMS))
@pytest.mark.usefixtures("one_by_one")
def test_the_expected_gradient_is_that_of_the_expected_reward(
    algorithm: str, settings: dict[str, Any]
) -> None:
    made, prompt = small_policy(), [2, 0, 2]
    extra: dict[str, Any] = {"minibatch_size": T} if algorithm == "PPO" else {}
    if algorithm != "REINFORCE":
        extra["vf_coef"] = 0.0
    gradients = gradient_of(make_trainer(made, algorithm, **settings, **extra), 1)
    words, rewards, probs, exact = expected_reward(made, prompt, 2)
    got = [np.zeros(part.shape) for part in exact]
    for word, reward, prob in zip(words, rewards, probs, strict=True):
        # The loss is a mean over the tokens, and falls where rewards rise.
        parts = gradients(fragment(prompt, word, reward))[: len(got)]
        got = [
            total - len(word) * prob * part
            for total, part in zip(got, parts, strict=True)
        ]
    for ours, want in zip(got, exact, strict=True):
        np.testing.assert_allclose(ours, want, atol=1e-5)


# The fast tests enumerate pairs of words: `test_baselines.py`.
@pytest.mark.slow
def test_leaving_one_out_does_not_change_what_is_expected() -> None:
    made, prompt = small_policy(), [2, 0, 2]
    trainer = make_trainer(
        made,
        "REINFORCE",
        returns="total",
        baseline="leave_one_out",
        group_size=2,
        normalize_advantages=False,
    )
    gradients = gradient_of(trainer, 2)
    words, rewards, probs, exact = expected_reward(made, prompt, 2)
    got = [np.zeros(part.shape) for part in exact]
    singles = [fragment(prompt, *pair) for pair in zip(words, rewards, strict=True)]
    for one, other in itertools.product(range(len(words)), repeat=2):
        scale = (len(words[one]) + len(words[other])) * probs[one] * probs[other]
        parts = gradients(side_by_side(singles[one], singles[other]))
        got = [total - scale * part for total, part in zip(got, parts, strict=True)]
    for ours, want in zip(got, exact, strict=True):
        np.testing.assert_allclose(ours, 2.0 * want, atol=1e-5)


def side_by_side(one: Trajectory, other: Trajectory) -> Trajectory:
    """Joins two completions of one prompt."""

    def join(axis: int, *fields: Any) -> Any:
        return tf.nest.map_structure(
            lambda *parts: None if parts[0] is None else tf.concat(parts, axis), *fields
        )

    states = join(0, one.policy_state, other.policy_state)
    rows = [
        trajectory._replace(policy_state=(), critic_state=())
        for trajectory in (one, other)
    ]
    joined: Trajectory = join(1, *rows)
    return joined._replace(policy_state=states, critic_state=states)


def ppo(made: Any, **settings: Any) -> Any:
    sizes = {"num_epochs": 1, "minibatch_size": 6 * T}
    return make_trainer(made, "PPO", **{**sizes, **settings})


@pytest.mark.usefixtures("one_by_one")
def test_the_first_ratio_is_one() -> None:
    trainer, env = ppo(small_policy("abc")), task()
    rows, episodes = collected(trainer, env)
    sequences = (rows.observations, rows.policy_state, resets(rows))
    parameters, values = trainer.policy.unroll_with(trainer.critic, *sequences)
    ratios = trainer.policy.family.log_prob(parameters, rows.actions) - rows.log_probs
    valid = rows.valid.numpy()
    assert 0 < valid.sum() < valid.size
    assert np.abs(ratios.numpy()[valid]).max() < 1e-5
    np.testing.assert_allclose(
        rows.values.numpy()[valid], values.numpy()[valid], atol=1e-5
    )
    np.testing.assert_allclose(rows.rewards.numpy().sum(), episodes.returns, atol=1e-5)
    assert episodes.lengths == valid.sum() and episodes.number == 6.0
    np.testing.assert_array_equal(rows.terminated.numpy().sum(0), 1)
    assert trainer.fit(env, steps_per_epoch=1, verbose=0).history["approx_kl"][0] < 1e-9


@pytest.mark.usefixtures("one_by_one")
def test_the_first_ratio_is_one_in_half_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = keras_nlp.models.GPT2Backbone(
        5, 2, 2, 16, 32, dropout=0.0, max_sequence_length=24, dtype="bfloat16"
    )
    lm = stirred(keras_nlp.models.GPT2CausalLM(backbone=backbone))
    trainer, env = ppo(policy("abc", lm)), task()
    assert isinstance(decoder_of(trainer, env), GPT2Decoder)
    collect = TextEngine.collect

    def misread(*arguments: Any) -> Any:
        rows, episodes = collect(*arguments)
        return rows._replace(log_probs=rows.log_probs - 1.0), episodes

    # The text is read again, so that what the loop computed does not matter; eight bits
    # of mantissa leave the rest.
    monkeypatch.setattr(TextEngine, "collect", misread)
    history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    assert history["approx_kl"][0] < 1e-4


@pytest.mark.usefixtures("one_by_one")
def test_nothing_after_the_end_counts() -> None:
    made = small_policy("abc")
    trainer = ppo(made, num_epochs=2, recompute_advantages=True)
    rows, _ = collected(trainer, task())
    other = noisy(rows)
    other = other._replace(
        rewards=tf.where(rows.valid, rows.rewards, 3.0),
        values=tf.where(rows.valid, rows.values, 4.0),
    )
    start = values_of(trainer.variables)
    results = []
    for trajectory in (rows, other):
        for variable, value in zip(trainer.variables, start, strict=True):
            variable.assign(value)
        before = values_of(trainer.learned_variables())
        _, metrics = learn(trainer, trajectory, num_envs=6)
        after: list[Any] = values_of(trainer.learned_variables())
        results.append([*after, *metrics.values()])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    moved = zip(before, results[0], strict=False)
    assert any(not np.array_equal(*pair) for pair in moved)


@pytest.mark.usefixtures("one_by_one")
def test_texts_without_an_end_stop_at_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = small_policy("abc")
    own, never = made.trunk.logits, -100.0 * tf.one_hot(1, 5)
    monkeypatch.setattr(made.trunk, "logits", lambda rows: own(rows) + never)
    trainer, env = ppo(made), task([kpg.rewards.MissingEnd()])
    rows, episodes = collected(trainer, env)
    assert rows.valid.numpy().all() and episodes.lengths == 6 * T
    last = np.arange(T)[:, np.newaxis] == [T - 1] * 6
    # Nothing is bootstrapped: the text is judged as it stands.
    np.testing.assert_array_equal(rows.terminated, last)
    np.testing.assert_array_equal(rows.truncated, last)  # for who leaves them out
    np.testing.assert_array_equal(rows.rewards, np.where(last, -1.0, 0.0))
    measured = {"reward/missing_end": -1.0, "ended": 0.0, "scored": 1.0}
    assert measured.items() <= env.measured().items()
    assert env.completed is not None
    assert [len(ids) for ids in env.completed.columns["completion_ids"]] == [T] * 6


def test_what_nobody_scored_teaches_nothing(one_by_one: None) -> None:
    def nothing(prompts: Any, completions: Any) -> list[None]:
        return [None for _ in completions]

    trainer, env = ppo(small_policy("abc"), target_kl=None), task([nothing])
    trainer.compile(keras.optimizers.Adam(0.1), jit_compile=False)
    trainer.fit(task(), steps_per_epoch=1, verbose=0)
    before = values_of(trainer.learned_variables())
    with pytest.warns(UserWarning, match="No completion was scored"):
        history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    assert np.isnan(history["reward/nothing"][0]) and np.isnan(history["return"][0])
    assert history["scored"] == [0.0] and history["episodes"] == [0]
    assert np.isnan(history["loss"][0])
    # Not even what Adam remembers of the iteration before moves a weight.
    for ours, theirs in zip(
        before, values_of(trainer.learned_variables()), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.warns(UserWarning, match="No completion was scored"):
        result = trainer.evaluate(env, episodes=6)
    assert np.isnan(result["return"]) and np.isnan(result["returns"]).all()


def every_other(prompts: Any, completions: Any, completion_ids: Any) -> list[Any]:
    """Scores some texts of each group and, over many, about half of them."""
    sums = [int(np.sum(ids)) for ids in completion_ids]
    return [None if number % 2 else 10.0 + number for number in sums]


def grouped(made: Any, baseline: Any, **settings: Any) -> Any:
    return make_trainer(
        made,
        "REINFORCE",
        returns="total",
        baseline=baseline,
        normalize_advantages=False,
        **settings,
    )


def scored_texts(trainer: Any, **options: Any) -> tuple[Any, Any, Any, Any]:
    """Returns texts some of which have no score: rows, episodes, totals, scored."""
    env = task([every_other], num_envs=12, group_size=4, **options)
    rows, episodes = collected(trainer, env)
    scored = rows.valid.numpy()[0]
    assert 2 < scored.sum() < 12
    return rows, episodes, rows.rewards.numpy().sum(0), scored


@pytest.mark.usefixtures("one_by_one")
def test_a_text_without_a_score_is_no_member_of_its_group() -> None:
    trainer = grouped(small_policy("abc"), kpg.advantages.LeaveOneOut())
    rows, episodes, totals, scored = scored_texts(trainer)
    gains = batch_of(trainer, rows, group_size=4).advantages.numpy()
    for column in range(12):
        group = range(column // 4 * 4, column // 4 * 4 + 4)
        others = [totals[i] for i in group if scored[i] and i != column]
        want = totals[column] - np.mean(others) if scored[column] and others else 0.0
        np.testing.assert_allclose(gains[:, column], want, atol=1e-5)
    assert episodes.number == scored.sum()
    assert episodes.returns == pytest.approx(totals[scored].sum())
    assert episodes.lengths == rows.valid.numpy().sum()


@pytest.mark.usefixtures("one_by_one")
def test_a_text_whose_greedy_one_has_no_score_is_left_out() -> None:
    made = small_policy("abc")
    trainer = grouped(made, "self_critical")
    asked: list[Any] = []

    def of_the_sampled(
        prompts: Any, completions: Any, completion_ids: Any
    ) -> list[Any]:
        asked.append(len(completions))
        unknown = len(completions) == 3  # one greedy text for each group
        return [None if unknown and i == 1 else 1.0 for i in range(len(completions))]

    env = task([of_the_sampled], num_envs=12, group_size=4)
    rows, episodes = collected(trainer, env)
    assert asked == [12, 3] and episodes.number == 12
    valid = rows.valid.numpy()[0]
    np.testing.assert_array_equal(valid, [True] * 4 + [False] * 4 + [True] * 4)
    assert np.isfinite(rows.greedy_rewards).all()


@pytest.mark.usefixtures("one_by_one")
def test_the_moving_average_is_of_what_was_scored() -> None:
    trainer = grouped(small_policy("abc"), "moving_average")
    rows, _, totals, scored = scored_texts(trainer)
    learn(trainer, rows, num_envs=12)
    valid = rows.valid.numpy()
    mean = np.broadcast_to(totals, valid.shape)[valid].mean()
    total, weight = trainer.baseline_state.numpy()
    assert total / weight == pytest.approx(mean, rel=1e-5)
    nothing = rows._replace(valid=tf.zeros_like(rows.valid))
    learn(trainer, nothing, num_envs=12)
    np.testing.assert_allclose(trainer.baseline_state, [total, weight])


def test_returns_of_evaluations_are_of_what_was_scored(one_by_one: None) -> None:
    trainer = grouped(small_policy("abc"), "none")
    env = task([every_other], num_envs=12)
    result = trainer.evaluate(env, episodes=12, deterministic=False)
    known = result["returns"][~np.isnan(result["returns"])]
    assert result["scored"] == pytest.approx(len(known) / 12)
    assert 0 < len(known) < 12
    assert result["return"] == pytest.approx(known.mean(), rel=1e-6)
    assert result["return"] == pytest.approx(result["reward/every_other"], rel=1e-6)


def test_the_task_says_how_large_a_group_is(one_by_one: None) -> None:
    made = small_policy("abc")
    env = task([remainder], num_envs=12, group_size=4)
    for wrong, other in ((kpg.advantages.LeaveOneOut(2), env), (None, task())):
        trainer = grouped(made, wrong or kpg.advantages.LeaveOneOut())
        with pytest.raises(ValueError, match="the task says how many.*Received: group"):
            trainer.fit(other, steps_per_epoch=1, verbose=0)
    trainer = grouped(made, kpg.advantages.GroupNormalized())
    # Another group, and another length, of what only validates do not matter.
    history = trainer.fit(
        env,
        steps_per_epoch=1,
        validation_data=task([remainder], num_envs=5, max_new_tokens=4),
        validation_episodes=5,
        verbose=0,
    ).history
    assert np.isfinite(history["val_return"]).all()


@pytest.mark.parametrize("algorithm", ["REINFORCE", "PPO"])
def test_the_length_is_the_tasks_unless_it_was_said(
    algorithm: str, tmp_path: Any, one_by_one: None
) -> None:
    lm = text.gpt2(258, num_layers=1, hidden_dim=8, max_tokens=12, seed=0)
    made = CausalLMPolicy(lm, text.ByteTokenizer())
    critic = None if algorithm == "REINFORCE" else made.critic
    one: dict[str, Any] = {"num_epochs": 1} if algorithm == "PPO" else {}
    trainer = getattr(kpg.trainers, algorithm)(made, critic, **one)
    trainer.save(tmp_path / "new.keras")
    loaded = kpg.load(tmp_path / "new.keras")
    loaded.compile(jit_compile=False)
    loaded.fit(task(), steps_per_epoch=1, verbose=0)
    assert loaded.settings.num_steps == T and loaded.env_steps == 6 * T
    said = getattr(kpg.trainers, algorithm)(made, critic, num_steps=T + 1)
    said.compile(jit_compile=False)
    with pytest.raises(ValueError, match=f"or be omitted.*num_steps={T + 1}"):
        said.fit(task(), verbose=0)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("algorithm", ["REINFORCE", "PPO"])
def test_weights_of_half_precision_are_learned(algorithm: str) -> None:
    backbone = keras_nlp.models.GPT2Backbone(
        5, 1, 2, 8, 16, dropout=0.0, max_sequence_length=24, dtype="bfloat16"
    )
    made = policy("abc", stirred(keras_nlp.models.GPT2CausalLM(backbone=backbone)))
    more = {"minibatch_size": 6 * T, "num_epochs": 1} if algorithm == "PPO" else {}
    trainer = make_trainer(made, algorithm, **{"max_grad_norm": 0.5, **more})
    rows, _ = collected(trainer, task())
    before = values_of(trainer.learned_variables())
    _, metrics = learn(trainer, rows, num_envs=6)
    assert np.isfinite([*metrics.values()]).all()
    pairs = zip(before, values_of(trainer.learned_variables()), strict=True)
    assert any(not np.array_equal(*pair) for pair in pairs)


def test_trains_saves_and_goes_on(tmp_path: Any, one_by_one: None) -> None:
    tf.config.run_functions_eagerly(False)
    lm = text.gpt2(258, num_layers=1, hidden_dim=8, max_tokens=12, seed=0)
    made = CausalLMPolicy(lm, text.ByteTokenizer(), temperature=1.3)
    trainer, env = ppo(made), task()
    options = {"validation_data": task(), "validation_episodes": 4, "verbose": 0}
    history = trainer.fit(env, epochs=2, steps_per_epoch=2, **options).history
    assert {"reward/vowels", "ended", "val_return", "length"} <= set(history)
    np.testing.assert_allclose(history["return"], history["reward/vowels"], atol=1e-6)
    assert traces(trainer) == 1
    # From here on without graphs, which is as good for two that are alike.
    tf.config.run_functions_eagerly(True)
    trainer.save(tmp_path / "trainer.keras")
    loaded = kpg.load(tmp_path / "trainer.keras")
    assert loaded.critic is loaded.policy.critic
    for one in (trainer, loaded):
        one.fit(env, steps_per_epoch=1, verbose=0)
    for ours, theirs in zip(
        values_of(trainer.learned_variables()),
        values_of(loaded.learned_variables()),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    result = trainer.evaluate(env, episodes=8)
    assert result["episodes"] == 8 and len(result["returns"]) == 8
    np.testing.assert_allclose(result["reward/vowels"], result["return"], atol=1e-2)
    assert trainer.evaluate(env, episodes=8)["return"] == result["return"]


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    ("options", "settings", "message"),
    [
        ({"max_prompt_tokens": 4}, {}, "max_prompt_tokens=4, and 5 tokens of 'abcab'"),
        ({"max_new_tokens": 22}, {"num_steps": 22}, "at most 24 tokens.*5 tokens"),
        ({}, {"num_steps": 4}, "num_steps=4, max_new_tokens=3"),
    ],
)
def test_refuses_a_task(
    options: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    steps = settings.get("num_steps", T)
    trainer = ppo(small_policy("abc"), minibatch_size=6 * steps, **settings)
    with pytest.raises(ValueError, match=message):
        trainer.fit(task(**options), verbose=0)


def test_refuses_a_policy_without_language() -> None:
    env = kpg.make("CartPole-v1", num_envs=6)
    made = kpg.models.Policy(env.observation_space, env.action_space, hidden_units=(4,))
    trainer = make_trainer(made, "REINFORCE")
    with pytest.raises(ValueError, match="CausalLMPolicy`. Received: Policy"):
        trainer.fit(task(), verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("algorithm", ["REINFORCE", "ActorCritic", "PPO"])
def test_learns_to_write_vowels(algorithm: str, seed: int) -> None:
    lm = text.gpt2(258, seed=seed)
    made = CausalLMPolicy(lm, text.ByteTokenizer())

    def share(prompts: Any, completions: Any) -> list[float]:
        return [sum(letter in "aeiou" for letter in t) / 16 for t in completions]

    env = task([share], prompts=["hello", "a", "text"], max_new_tokens=16, num_envs=32)
    settings: dict[str, Any] = {"num_steps": 16, "gamma": 1.0, "seed": seed}
    if algorithm == "PPO":
        settings |= {"num_epochs": 4, "minibatch_size": 256}
    critic = None if algorithm == "REINFORCE" else made.critic
    trainer = getattr(kpg.trainers, algorithm)(made, critic, **settings)
    trainer.compile(keras.optimizers.Adam(3e-3))
    trainer.fit(env, epochs=2, steps_per_epoch=60, verbose=0)
    assert trainer.evaluate(env, episodes=64, deterministic=False)["return"] > 0.9


@pytest.mark.slow
def test_a_text_task_goes_on_to_the_bit(tmp_path: Path) -> None:
    def trainer_of_bytes() -> Any:
        lm = text.gpt2(258, num_layers=1, hidden_dim=8, max_tokens=12, seed=0)
        made = CausalLMPolicy(lm, text.ByteTokenizer())
        trainer = make_trainer(made, "ActorCritic", normalize_rewards=True)
        one = keras.optimizers.SGD(0.1)
        trainer.compile(one, steps_per_execution=1, jit_compile=False)
        return trainer

    watch = Checkpoint(tmp_path, minutes=1e-9)
    at_once = fit(task(), trainer_of_bytes())
    with pytest.raises(Crash):
        trainer = trainer_of_bytes()
        fit(task(), trainer, watch, Crashes(3))
    again = trainer_of_bytes()
    assert_equal(fit(task(), again, watch), at_once)
    assert watch.resumed_from == tmp_path / "checkpoint-1-1.keras"
