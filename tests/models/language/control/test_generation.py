"""A frozen executor that is steered, against the executor left alone."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import AutoresetMode

import kpg
import kpg.rewards
from kpg.environments import ControlledGeneration, HostEnvironment, TextGeneration
from kpg.trainers.acting.host import HostCollector
from tests import seq2seq
from tests.steering import (
    ALGORITHMS,
    CONTINUE,
    PROMPTS,
    STOP,
    T,
    executor,
    finished,
    generation,
    length,
    models,
)


def whole(env: ControlledGeneration, actions: Any) -> list[str]:
    """Returns texts that are written to their last token by the same actions."""
    env.reset()
    for _ in range(T - 1):
        env.step(actions)
    texts: list[str] = env.step(actions)[-1]["completion"].tolist()
    return texts


def test_a_bias_of_nothing_changes_nothing_and_a_large_one_forces() -> None:
    env = generation(control="bias", deterministic=True, strength=100.0)
    env.reset()
    biases = np.zeros([4, 5], np.float32)
    pairs = []
    for _ in range(T):
        *_, infos = env.step(biases)
        pairs += finished(infos, env)
    for prompt, text in pairs:
        assert executor().generate([prompt], T, deterministic=True) == [text]
    assert len(pairs) >= 4
    biases[:, 3] = 1.0
    assert whole(env, biases) == ["b" * T] * 4


@pytest.mark.usefixtures("one_by_one")
def test_a_boosted_class_is_written() -> None:
    env = generation(word_classes={"x": ["ca", "cbb"]}, strength=100.0)
    boosts = np.full(4, env.instructions.index("boost x"))
    # The second time, the texts before ended in the middle of a word.
    written = {*whole(env, boosts), *whole(env, boosts)}
    assert written <= {"cacac", "cacbb", "cbbca", "cbbcb"}


@pytest.mark.usefixtures("one_by_one")
def test_a_phrase_is_written_as_far_as_there_is_room() -> None:
    env = generation(phrases=["cab"], deterministic=True, prompts=["ab"])
    env.reset()
    env.step(np.full(4, 3))
    _, rewards, ended, _, infos = env.step(np.full(4, 3))
    assert ended.all() and infos["completion"].tolist() == ["cabca"] * 4
    np.testing.assert_array_equal(rewards, [5.0] * 4)
    assert env.completed is not None and env.completed.columns["ended"] == [False] * 4


@pytest.mark.usefixtures("one_by_one")
def test_a_stop_writes_the_end() -> None:
    env = generation()
    env.reset()
    _, rewards, ended, _, infos = env.step(np.array([STOP, 0, STOP, 0]))
    assert env.completed is not None and ended[[0, 2]].all()
    index = np.flatnonzero(ended).tolist().index(2)
    assert env.completed.columns["completion_ids"][index].tolist() == [1]
    assert env.completed.columns["ended"][index] is True and rewards[2] == 0.0
    assert infos["_completion"].tolist() == ended.tolist()


def plays(mode: AutoresetMode) -> tuple[list[Any], dict[str, float]]:
    """Returns the episodes of each copy, as a trainer's environment sees them."""
    env = generation(deterministic=True, autoreset_mode=mode, prompts=["cabab"])
    host = kpg.environments.as_environment(env, seed=0)
    assert isinstance(host, HostEnvironment)
    assert host.max_episode_steps == T
    observations = host.reset()
    episodes: list[Any] = [[[]] for _ in range(4)]
    steps = np.zeros(4, int)
    for _ in range(4 * T):
        # In step k of its episode, copy k is told to stop.
        actions = np.where(steps == np.arange(4), STOP, CONTINUE)
        result = host.step(actions)
        for row in np.flatnonzero(result.valid):
            finals = {
                name: part[row] for name, part in result.next_observations.items()
            }
            first = {name: part[row] for name, part in observations.items()}
            ended = bool(result.terminated[row])
            step = (first, actions[row], float(result.rewards[row]), finals, ended)
            episodes[row][-1].append(step)
            if ended:
                episodes[row].append([])
        steps = np.where(result.terminated, 0, steps + result.valid)
        observations = result.observations
    return episodes, env.measured()


def test_every_autoreset_mode_plays_the_same_episodes() -> None:
    same, _ = plays(AutoresetMode.SAME_STEP)
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED):
        other, measured = plays(mode)
        assert 0.0 < measured["reward/length"] <= T
        for ours, theirs in zip(same, other, strict=True):
            assert len(ours[0]) == len(theirs[0]) > 0 and ours[0][-1][-1]
            for one, two in zip(sum(ours, []), sum(theirs, []), strict=False):
                tf.nest.map_structure(
                    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, two
                )


def per_token(prompts: Any, completions: Any, completion_ids: Any) -> list[Any]:
    return [np.arange(len(ids)) for ids in completion_ids]


def exact(prompts: Any, completions: Any, references: Any, topic: Any) -> list[Any]:
    pairs = zip(completions, references, strict=True)
    return [None if want is None else float(text == want) for text, want in pairs]


@pytest.mark.usefixtures("one_by_one")
def test_rewards_are_those_of_text_generation() -> None:
    shared: dict[str, Any] = {
        "rewards": [length, per_token, exact],
        "reward_weights": [1.0, 0.5, 2.0],
        "references": ["a", None, "ccccc"],
        "columns": {"topic": [1, 2, 3]},
        "max_new_tokens": T,
        "num_envs": 4,
    }
    env = generation(deterministic=True, **shared)
    env.reset()
    rewards, ended = np.zeros(4), np.zeros(4, bool)
    while not ended.any():
        _, earned, ended, *_ = env.step(np.zeros(4, int))
        rewards += earned
    done = env.completed
    assert done is not None and ended.sum() == len(done.prompts)
    columns = done.columns
    task = TextGeneration(PROMPTS, **shared)
    scores = task.score(
        np.array([PROMPTS.index(prompt) for prompt in done.prompts]),
        done.completions,
        columns["prompt_ids"],
        columns["completion_ids"],
        columns["ended"],
    )
    np.testing.assert_allclose(rewards[ended], scores.total.sum(1))
    assert {*env.measured()} == {*task.measured()}


def test_every_prompt_has_its_turn() -> None:
    env = generation(num_envs=2)
    env.reset(seed=4)
    first = env._texts.indices.tolist()
    order = env.task.drawn(range(9), 4)
    for place in range(2, 8, 2):
        *_, infos = env.step(np.full(2, STOP))
        assert env._texts.indices.tolist() == order[place : place + 2].tolist()
    env.reset()
    assert env._texts.indices.tolist() == env.task.drawn(range(8, 10), 4).tolist()
    env.reset(seed=4)
    assert env._texts.indices.tolist() == first == order[:2].tolist()


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    ("algorithm", "env_options", "memory"),
    [
        ("PPO", {"word_classes": {"x": ["ab"]}, "phrases": ["ca"]}, None),
        pytest.param(
            *("ActorCritic", {"control": "bias", "interaction": "one_way"}, "gru"),
            marks=pytest.mark.slow,
        ),
        ("REINFORCE", {"control": "token"}, None),
    ],
)
def test_trainers_leave_the_executor_as_it_is(
    algorithm: str, env_options: dict[str, Any], memory: str | None
) -> None:
    made = executor()
    env = generation(made, **env_options)
    before = [weight.numpy().tobytes() for weight in made.trunk.weights]
    actor, critic = models(env, memory=memory)
    start = [weight.numpy().copy() for weight in actor.trainable_weights]
    settings = dict(ALGORITHMS)[algorithm]
    trainer = getattr(kpg.trainers, algorithm)(
        actor, critic, num_steps=T, seed=0, **settings
    )
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    history = trainer.fit(env, steps_per_epoch=2, verbose=0).history
    assert np.isfinite(history["return"]).all() and history["episodes"][0] >= 4
    # Both are of the texts that were learned from.
    reward = pytest.approx(history["return"][0], abs=1e-5)
    assert history["reward/length"][0] == reward
    assert [weight.numpy().tobytes() for weight in made.trunk.weights] == before
    pairs = zip(start, actor.trainable_weights, strict=True)
    assert any(not np.array_equal(old, new.numpy()) for old, new in pairs)


def test_what_a_trainer_takes_down_is_what_was_written() -> None:
    env = generation(control="token")
    actor, _ = models(env)
    collector = HostCollector(HostEnvironment(env, seed=0), actor, 2 * T)
    rows, episodes = collector.collect(np.array([1, 2], np.int32))
    for step in range(2 * T):
        seen = {name: part[step] for name, part in rows.observations.items()}
        want = actor.log_prob(seen, rows.actions[step])
        np.testing.assert_allclose(rows.log_probs[step], want, atol=1e-5)
    written = rows.next_observations["last_token"]
    np.testing.assert_array_equal(written, rows.actions)
    np.testing.assert_array_equal(rows.terminated, _ends(rows.actions))
    assert np.all(rows.valid) and episodes.number == rows.terminated.sum()
    assert rows.rewards.sum() == pytest.approx(episodes.returns + 0.0, abs=1e-5)


def _ends(actions: np.ndarray) -> np.ndarray:
    """Returns where a text ends: with the end token, or with the last of T."""
    ends = np.zeros(actions.shape, bool)
    counts = np.zeros(actions.shape[1], int)
    for step, row in enumerate(actions):
        counts += 1
        ends[step] = (row == 1) | (counts == T)
        counts[ends[step]] = 0
    return ends


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": "tokens"}, "Did you mean token.*Received: control='tokens'"),
        ({"word_classes": {"x": ["dog"]}}, "tokenizer can write. Received: 'dog'"),
        ({"phrases": ["abcabc"]}, "max_new_tokens=5, and 6 tokens of 'abcabc'"),
        ({"phrases": "ab"}, "must be a list. Received: phrases='ab'"),
        ({"control": "bias", "phrases": ["a"]}, r"Received: phrases=\['a'\]"),
        ({"autoreset_mode": "never"}, "must be one of.*SameStep.*='never'"),
        ({"prompts": []}, "at least one. Received"),
        ({"rewards": [exact]}, "needs references"),
        ({"max_prompt_tokens": 4}, "max_prompt_tokens=4, and 5 tokens of 'cabab'"),
        ({"max_new_tokens": 40}, "at most 24 tokens.*max_new_tokens=40"),
        ({"max_new_tokens": 0}, "Received: max_new_tokens=0"),
        ({"num_envs": 0}, "Received: num_envs=0"),
    ],
)
def test_refuses_to_be_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generation(**options)


@pytest.mark.usefixtures("one_by_one")
def test_refuses_steps_that_cannot_be() -> None:
    env = generation(autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="no reset so far"):
        env.step(np.zeros(4, int))
    with pytest.raises(ValueError, match="Received: .*before a first reset"):
        env.reset(options={"reset_mask": np.ones(4, bool)})
    env.reset()
    with pytest.raises(ValueError, match=r"the shape \(4,\). Received: \(3,\)"):
        env.step(np.zeros(3, int))
    with pytest.raises(ValueError, match=r"members of Discrete\(3\).*\[0, 0, 0, 3\]"):
        env.step(np.array([0, 0, 0, 3]))
    env.step(np.full(4, STOP))
    with pytest.raises(ValueError, match="must be reset.*Received: 4 that ended"):
        env.step(np.zeros(4, int))
    with pytest.raises(ValueError, match=r"4 booleans.*Received: shape=\(2,\)"):
        env.reset(options={"reset_mask": np.ones(2, bool)})


@pytest.mark.usefixtures("one_by_one")
def test_a_reward_that_fails_shows_its_prompt() -> None:
    env = generation(rewards=[lambda prompts, completions: 1 / 0])
    env.reset()
    with pytest.raises(ValueError, match="for the prompt .*ZeroDivisionError"):
        env.step(np.full(4, STOP))


def test_refuses_a_policy_that_does_not_cover_the_vocabulary() -> None:
    env = generation(control="token")
    few = kpg.models.Policy(
        env.single_observation_space, gym.spaces.Discrete(4), hidden_units=(4,)
    )
    trainer = kpg.trainers.REINFORCE(few, num_steps=T)
    trainer.compile(jit_compile=False)
    wanted = r"action_space.*Received: Discrete\(5\), but the policy has Discrete\(4\)"
    with pytest.raises(ValueError, match=wanted):
        trainer.fit(env, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "settings"), ALGORITHMS)
def test_a_policy_learns_to_steer(algorithm: str, settings: dict[str, Any]) -> None:
    def vowels(prompts: Any, completions: Any) -> list[float]:
        return [text.count("a") / T for text in completions]

    env = generation(
        rewards=[vowels], word_classes={"x": ["a"], "y": ["b"]}, num_envs=32
    )
    settings = {**settings, "num_steps": 2 * T, "gamma": 1.0}
    if algorithm == "PPO":
        settings["minibatch_size"] = 80
    trainer = getattr(kpg.trainers, algorithm)(*models(env), seed=0, **settings)
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    before = trainer.evaluate(env, episodes=128, deterministic=False)["return"]
    trainer.fit(env, steps_per_epoch=60, verbose=0)
    after = trainer.evaluate(env, episodes=128, deterministic=False)["return"]
    assert isinstance(env.single_action_space, gym.spaces.Discrete)
    assert after > 0.8 > before + 0.2


@pytest.mark.slow
def test_a_small_transformer_writes_what_a_seq2seq_model_finds_likely() -> None:
    made = seq2seq.policy("abc")
    weights = [weight.numpy() for weight in made.weights]
    env = generation(
        made,
        rewards=[kpg.rewards.ExecutorLogLikelihood(made)],
        control="token",
        num_envs=32,
        jit_compile=True,
    )
    memory = kpg.models.Transformer(16, T)
    trainer = kpg.trainers.ActorCritic(
        *models(env, memory=memory), num_steps=T, gamma=1.0, advantage="td_error"
    )
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    before = trainer.evaluate(env, episodes=128, deterministic=False)["return"]
    trainer.fit(env, steps_per_epoch=80, verbose=0)
    after = trainer.evaluate(env, episodes=128, deterministic=False)["return"]
    assert after > before + 2.0  # nats a text
    for new, old in zip(made.weights, weights, strict=True):
        np.testing.assert_array_equal(new, old)


def counted(prompts: Any, completions: Any, completion_ids: Any) -> list[Any]:
    return [np.arange(1, len(ids) + 1) for ids in completion_ids]


def played(env: ControlledGeneration, steps: int = 3 * T) -> tuple[Any, Any, Any]:
    """Returns rewards and ends `[steps, B]` of texts that go on, and what was seen."""
    observations, _ = env.reset(seed=0)
    rewards, ends, seen = [], [], []
    for _ in range(steps):
        observations, reward, ended, *_ = env.step(np.zeros(env.num_envs, int))
        rewards.append(reward)
        ends.append(ended)
        seen.append(observations)
    return np.array(rewards), np.array(ends), seen


def hundred(prompts: Any, completions: Any) -> list[float]:
    return [100.0] * len(completions)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_rewards_of_tokens_come_with_their_step(mode: AutoresetMode) -> None:
    env = generation(rewards=[counted, hundred], autoreset_mode=mode)
    rewards, ends, _ = played(env)
    for column in range(4):
        place = 0
        for reward, ended in zip(rewards[:, column], ends[:, column], strict=True):
            resets = place < 0
            place += 1
            assert reward == (0.0 if resets else place + 100.0 * ended)
            if ended:
                place = -1 if mode is AutoresetMode.NEXT_STEP else 0
    assert 4 <= ends.sum() < ends.size


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("build", [executor, seq2seq.policy])
def test_the_executors_likelihood_is_a_reward_of_this_step(build: Any) -> None:
    made = build() if build is executor else build("abc")
    reward = kpg.rewards.ExecutorLogLikelihood(made)
    env = generation(made, rewards=[reward], phrases=["cab"], prompts=["cabab"])
    rewards, ends, seen = played(env)
    likelihoods = np.array([row["log_likelihood"][:, 0] for row in seen])
    going_on = ~ends
    np.testing.assert_allclose(rewards[going_on], likelihoods[going_on], atol=1e-5)
    assert rewards.max() < 0.0
    # Whole episodes add up to what scores whole completions.
    env.reset(seed=0)
    total, done = np.zeros(4), np.zeros(4, bool)
    actions = np.full(4, env.instructions.index("insert 'cab'"))
    for _ in range(2):
        _, step, done, *_ = env.step(actions)
        total += step
    assert done.all() and env.completed is not None
    columns = env.completed.columns
    want = [
        row.sum()
        for row in made.score(columns["prompt_ids"], columns["completion_ids"])
    ]
    np.testing.assert_allclose(total, want, atol=1e-4)


def test_what_no_reward_scored_is_left_out() -> None:
    def some(prompts: Any, completions: Any, completion_ids: Any) -> list[Any]:
        sums = [int(np.sum(ids)) for ids in completion_ids]
        return [None if number % 2 else 10.0 for number in sums]

    env = generation(rewards=[some], control="token")
    actor, _ = models(env)
    collector = HostCollector(HostEnvironment(env, seed=0), actor, 3 * T)
    rows: Any
    rows, episodes = collector.collect(np.array([1, 2], np.int32))
    kept = dropped = 0
    for column in range(4):
        first: Any = 0
        for step in np.flatnonzero(rows.terminated[:, column]):
            valid = rows.valid[first : step + 1, column]
            scored = int(rows.actions[first : step + 1, column].sum()) % 2 == 0
            np.testing.assert_array_equal(valid, scored)
            kept, dropped, first = kept + scored, dropped + (not scored), step + 1
        assert rows.valid[first:, column].all()
    assert kept and dropped and episodes.number == kept
    assert episodes.returns == 10.0 * kept
    trainer = kpg.trainers.REINFORCE(actor, num_steps=T, seed=0)
    result = trainer.evaluate(env, episodes=12, deterministic=False)
    assert result["return"] == 10.0 and np.isnan(result["returns"]).any()
