"""A frozen executor that is steered, against the executor left alone."""

from __future__ import annotations

import functools
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
from kpg.models import CausalLMPolicy
from kpg.models.language.decoding.rowwise import CachedReader, TextReader
from kpg.trainers.acting.host import HostCollector
from tests.texts import gemma, gpt2, llama, policy

T = 5
PROMPTS = ["ab", "cabab", "c"]
CONTINUE, STOP = 0, 1


def length(prompts: Any, completions: Any) -> list[float]:
    return [float(len(text)) for text in completions]


@functools.cache
def executor(model: Any = None, **options: Any) -> CausalLMPolicy:
    model = gpt2(5, num_layers=1, hidden_dim=8) if model is None else model
    return policy("abc", model, **options)


def generation(made: Any = None, **options: Any) -> ControlledGeneration:
    given = {"rewards": [length], "max_new_tokens": T, "num_envs": 4, **options}
    given = {"jit_compile": False, **given}
    prompts = given.pop("prompts", PROMPTS)
    return ControlledGeneration(made or executor(), prompts, **given)


def finished(infos: dict[str, Any], env: ControlledGeneration) -> list[tuple[str, str]]:
    """Returns prompts and completions of the texts that ended in a step."""
    if "completion" not in infos:
        return []
    assert env.completed is not None
    texts = infos["completion"][infos["_completion"]].tolist()
    assert texts == list(env.completed.completions)
    return list(zip(env.completed.prompts, texts, strict=True))


def whole(env: ControlledGeneration, actions: Any) -> list[str]:
    """Returns texts that are written to their last token by the same actions."""
    env.reset()
    for _ in range(T - 1):
        env.step(actions)
    texts: list[str] = env.step(actions)[-1]["completion"].tolist()
    return texts


@pytest.mark.parametrize(
    ("model", "reader"),
    [(None, CachedReader), (llama(5), CachedReader), (gemma(5), TextReader)],
)
def test_left_alone_it_writes_what_it_would_write(model: Any, reader: type) -> None:
    made = executor(model)
    env = generation(made, deterministic=True)
    assert isinstance(env._writer._reader, reader)
    random, pairs = np.random.default_rng(0), []
    env.reset(seed=0)
    for _ in range(6 * T):
        # Stops make the copies begin new texts at different times.
        stops = random.random(4) < 0.15
        *_, infos = env.step(np.where(stops, STOP, CONTINUE))
        pairs += finished(infos, env)
    wholes = dict(zip(PROMPTS, made.generate(PROMPTS, T, 0, True), strict=True))
    cut = 0
    for prompt, text in pairs:
        assert wholes[prompt].startswith(text)
        cut += text != wholes[prompt]
    assert {prompt for prompt, _ in pairs} == {*PROMPTS} and 2 < cut < len(pairs) - 2


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


def test_a_boosted_class_is_written() -> None:
    env = generation(word_classes={"x": ["ca", "cbb"]}, strength=100.0)
    boosts = np.full(4, env.instructions.index("boost x"))
    # The second time, the texts before ended in the middle of a word.
    written = {*whole(env, boosts), *whole(env, boosts)}
    assert written <= {"cacac", "cacbb", "cbbca", "cbbcb"}


def seen_by(made: CausalLMPolicy, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what the KerasHub model thinks of a whole text."""
    texts = tf.constant(tokens[np.newaxis])
    inputs = {"token_ids": texts, "padding_mask": tf.ones_like(texts)}
    log_probs = tf.nn.log_softmax(made.trunk.causal_lm(inputs)[0] / made.temperature)
    last = log_probs[-1].numpy()
    return {
        "entropy": -np.sum(np.exp(last) * last, keepdims=True),
        "features": made.trunk.causal_lm.backbone(inputs)[0, -1].numpy(),
        "last_token": tokens[-1],
        "top_log_probs": np.sort(last)[::-1],
        "given": log_probs[len(tokens) - 2, tokens[-1]].numpy(),
    }


def check_finals(
    made: CausalLMPolicy, env: ControlledGeneration, infos: dict[str, Any], ended: Any
) -> None:
    """Compares final observations with the texts that were scored."""
    for index, row in enumerate(np.flatnonzero(ended)):
        assert env.completed is not None
        columns = env.completed.columns
        parts = columns["prompt_ids"][index], columns["completion_ids"][index]
        want = seen_by(made, np.concatenate(parts))
        final = infos["final_obs"][row]
        for name in ("features", "last_token", "top_log_probs"):
            np.testing.assert_allclose(final[name], want[name], atol=1e-4)
        assert final["step"] == np.float32(len(parts[1]) / T)


def test_two_ways_show_what_the_model_thinks() -> None:
    made = executor(temperature=0.7)
    env = generation(made, phrases=["cab", "b"], word_classes={"x": ["ab"]})
    random = np.random.default_rng(1)
    observations, _ = env.reset(seed=3)
    inserted = np.zeros(4, bool)
    for _ in range(16):
        texts = env._texts
        for row in range(4):
            tokens = texts.tokens[row, : texts.lengths[row]]
            want = seen_by(made, tokens)
            given = want.pop("given") * (texts.counts[row] > 0)
            for name, value in want.items():
                np.testing.assert_allclose(observations[name][row], value, atol=1e-4)
            if not inserted[row] or not texts.counts[row]:
                got = observations["log_likelihood"][row]
                np.testing.assert_allclose(got, [given], atol=1e-4)
            embedded = made.trunk.causal_lm.backbone.token_embedding.embeddings
            mean = embedded.numpy()[texts.prompt_ids(row)].mean(0)
            np.testing.assert_allclose(observations["prompt"][row], mean, rtol=1e-5)
            assert observations["step"][row] == np.float32(texts.counts[row] / T)
        actions = random.choice(
            len(env.instructions), 4, p=[0.4, 0.1, 0.1, 0.1, 0.3, 0]
        )
        inserted = actions == 4
        before = texts.counts.copy()
        observations, _, ended, _, infos = env.step(actions)
        check_finals(made, env, infos, ended)
        last = np.where(ended, 0, actions + 1)
        np.testing.assert_array_equal(observations["last_action"], last)
        assert observations in env.observation_space
        wrote = np.where(inserted, np.minimum(3, T - before), 1)
        np.testing.assert_array_equal(texts.counts, np.where(ended, 0, before + wrote))


def test_one_way_shows_nothing_of_the_executor() -> None:
    env = generation(interaction="one_way", control="bias")
    observations, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observations["last_action"], np.zeros([4, 5]))
    biases = np.random.default_rng(0).uniform(-1, 1, (4, 5)).astype("float32")
    following, _, ended, *_ = env.step(biases)
    assert sorted(following) == ["last_action", "prompt", "step"] and not ended.all()
    last = np.where(ended[:, np.newaxis], 0.0, biases)
    np.testing.assert_array_equal(following["last_action"], last)
    same = np.all(following["prompt"] == observations["prompt"], axis=1)
    assert same[~ended].all()


def test_a_phrase_is_written_as_far_as_there_is_room() -> None:
    env = generation(phrases=["cab"], deterministic=True, prompts=["ab"])
    env.reset()
    env.step(np.full(4, 3))
    _, rewards, ended, _, infos = env.step(np.full(4, 3))
    assert ended.all() and infos["completion"].tolist() == ["cabca"] * 4
    np.testing.assert_array_equal(rewards, [5.0] * 4)
    assert env.completed is not None and env.completed.columns["ended"] == [False] * 4


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
        _, rewards, ended, *_ = env.step(np.zeros(4, int))
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
    assert not scores.scored.all()
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


def test_equal_seeds_write_equal_texts() -> None:
    def texts(seed: int, **options: Any) -> list[Any]:
        env = generation(num_envs=8, **options)
        env.reset(seed=seed)
        steps = [env.step(np.zeros(8, int)) for _ in range(T)]
        return [step[0]["last_token"].tolist() for step in steps]

    assert texts(1) == texts(1, jit_compile=True) != texts(2)


def models(env: ControlledGeneration, **options: Any) -> tuple[Any, Any]:
    spaces = (env.single_observation_space, env.single_action_space)
    small = {"hidden_units": (8,), "seed": 0, **options}
    critic = kpg.models.Critic(spaces[0], **small)
    return kpg.models.Policy(*spaces, **small), critic


ALGORITHMS: list[tuple[str, dict[str, Any]]] = [
    ("PPO", {"num_epochs": 2, "minibatch_size": 2 * T, "normalize_observations": True}),
    ("ActorCritic", {"normalize_rewards": True}),
    ("REINFORCE", {}),
]


@pytest.mark.parametrize(
    ("algorithm", "env_options", "memory"),
    [
        ("PPO", {"word_classes": {"x": ["ab"]}, "phrases": ["ca"]}, None),
        ("ActorCritic", {"control": "bias", "interaction": "one_way"}, "gru"),
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
    assert history["reward/length"][0] == pytest.approx(history["return"][0], abs=1e-5)
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
    assert rows.valid.all() and episodes.count == rows.terminated.sum()
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


class NoTokenizer:
    """A model that does not know strings."""

    trunk = family = codec = decoder = None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": "tokens"}, "must be one of.*Received: control='tokens'"),
        ({"interaction": "both"}, "must be one of.*Received: interaction='both'"),
        ({"word_classes": {"x": ["dog"]}}, "tokenizer can make. Received: 'dog'"),
        ({"phrases": ["abcabc"]}, "max_new_tokens=5, and 6 tokens of 'abcabc'"),
        ({"phrases": "ab"}, "must be a list. Received: 'ab'"),
        ({"control": "bias", "phrases": ["a"]}, r"no effect.*Received: .*\['a'\]"),
        ({"autoreset_mode": "never"}, "must be one of.*SameStep.*Received: 'never'"),
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


@pytest.mark.parametrize("made", [gpt2(5), NoTokenizer()])
def test_refuses_an_executor_without_a_tokenizer(made: Any) -> None:
    with pytest.raises(ValueError, match="Received: .* without .*tokenizer"):
        generation(made)
    with pytest.raises(ValueError, match="needs a `tokenizer`.*tokenizer=None"):
        CausalLMPolicy(gpt2(5))


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
