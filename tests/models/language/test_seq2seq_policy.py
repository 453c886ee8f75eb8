"""Sequence-to-sequence policies in the trainers, which know nothing of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.export.loading.servable import Servable
from kpg.models import CausalLMPolicy, LanguageCritic, Seq2SeqLMPolicy
from kpg.models.language.seq2seq_trunk import Seq2SeqTrunk
from kpg.trajectories import Trajectory, resets
from tests.fragments import collected, traces, values_of
from tests.seq2seq import FRAMING, bart, policy, teacher_forced
from tests.text_training import (
    ALGORITHMS,
    T,
    gradient_of,
    make_trainer,
    noisy,
    task,
)
from tests.texts import Letters, gpt2, language, padded, remainder


def small(vocabulary_size: int = 5, **options: Any) -> Any:
    return bart(vocabulary_size, num_layers=1, hidden_dim=8, **options)


def ppo(made: Any, **settings: Any) -> Any:
    plain = {"num_epochs": 1, "minibatch_size": 3 * T, "reference_kl_coef": 0.1}
    return make_trainer(made, "PPO", **{**plain, **settings})


def fragment(made: Any, prompt: list[int], word: Any, reward: float) -> Trajectory:
    """Returns one completion as a trajectory, with nothing known of its values."""
    tokens = np.zeros([T, 1], np.int32)
    tokens[: len(word), 0] = word
    steps = np.arange(T)[:, np.newaxis]
    first, state = made.begin(*padded([prompt]))
    state = tuple(map(tf.constant, state))
    last = steps == len(word) - 1
    return Trajectory(
        observations=tf.constant(np.concatenate([[first], tokens[:-1]])),
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


@pytest.mark.slow  # `trainers/language/test_engine.py` has the fast one
@pytest.mark.parametrize(("algorithm", "settings"), ALGORITHMS)
@pytest.mark.usefixtures("one_by_one")
def test_the_expected_gradient_is_that_of_the_expected_reward(
    algorithm: str, settings: dict[str, Any]
) -> None:
    made, prompt = policy("a", small(3), framing=((2,), (1,), (1, 2))), [2, 0, 2]
    extra: dict[str, Any] = {"minibatch_size": T} if algorithm == "PPO" else {}
    if algorithm != "REINFORCE":
        extra["vf_coef"] = 0.0
    words = language(3, 2)
    rewards = np.random.default_rng(0).normal(size=len(words))
    with tf.GradientTape() as tape:
        log_probs = [tf.reduce_sum(teacher_forced(made, prompt, w)) for w in words]
        probs = tf.exp(tf.stack(log_probs))
        expected = tf.reduce_sum(probs * tf.constant(rewards, tf.float32))
    np.testing.assert_allclose(tf.reduce_sum(probs), 1.0, atol=1e-5)
    exact = tape.gradient(expected, [w.value for w in made.trainable_variables])
    gradients = gradient_of(make_trainer(made, algorithm, **settings, **extra), 1)
    got: Any = [0.0] * len(exact)
    for word, reward, prob in zip(words, rewards, probs.numpy(), strict=True):
        # The loss is a mean over the tokens, and falls where rewards rise.
        parts = gradients(fragment(made, prompt, word, reward))
        for index in range(len(got)):
            part = tf.convert_to_tensor(parts[index]).numpy()
            got[index] = got[index] - len(word) * prob * part
    for ours, want in zip(got, exact, strict=True):
        np.testing.assert_allclose(ours, tf.convert_to_tensor(want), atol=1e-5)


@pytest.mark.slow
def test_trains_saves_and_goes_on(tmp_path: Any) -> None:
    lm = small(258)
    lm.backbone.enable_lora(2)
    before = {w.path: w.numpy() for w in lm.weights}
    made = Seq2SeqLMPolicy(lm, kpg.text.ByteTokenizer(), temperature=1.3)
    trainer, env = ppo(made), task([remainder])
    trainer.fit(env, epochs=2, steps_per_epoch=1, verbose=0)
    assert traces(trainer) == 1
    moved = {w.path for w in lm.weights if (w.numpy() != before[w.path]).any()}
    assert moved == {w.path for w in lm.trainable_weights}
    assert any(path.endswith("lora_kernel_a") for path in moved)
    trainer.save(tmp_path / "trainer.keras")
    loaded: Any = kpg.load(tmp_path / "trainer.keras")
    assert loaded.critic is loaded.policy.critic
    for one in (trainer, loaded):
        one.fit(env, steps_per_epoch=1, verbose=0)
    for ours, theirs in zip(
        values_of(trainer.weights), values_of(loaded.weights), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    result = trainer.evaluate(env, episodes=8)
    assert result["episodes"] == 8
    np.testing.assert_allclose(result["reward/remainder"], result["return"], atol=1e-2)


@pytest.mark.usefixtures("one_by_one")
def test_the_first_ratio_is_one_and_the_drift_nothing() -> None:
    made = policy("abc", small())
    trainer = ppo(made)
    trainer.reference.begin()
    rows, _ = collected(trainer, task(), 5)
    valid = rows.valid.numpy()
    assert 0 < valid.sum() < valid.size
    assert made.critic is not None
    parameters, values = made.unroll_with(
        made.critic, rows.observations, rows.policy_state, resets(rows)
    )
    log_ratios = made.family.log_prob(parameters, rows.actions) - rows.log_probs
    assert np.abs(log_ratios.numpy()[valid]).max() < 1e-5
    np.testing.assert_allclose(values.numpy()[valid], rows.values[valid], atol=1e-5)
    assert np.abs(trainer.reference.drift(rows).estimates).max() < 1e-5


@pytest.mark.usefixtures("one_by_one")
def test_nothing_after_the_end_counts() -> None:
    made = policy("abc", small())
    trainer = make_trainer(made, "ActorCritic")
    gradients = gradient_of(trainer, 6)
    rows, _ = collected(trainer, task(), 5)
    assert not rows.valid.numpy().all()
    for ours, theirs in zip(gradients(rows), gradients(noisy(rows)), strict=True):
        ours, theirs = map(tf.convert_to_tensor, (ours, theirs))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.slow
def test_a_critic_reads_the_prompts_with_its_own_model(tmp_path: Any) -> None:
    tokenizer = kpg.text.ByteTokenizer()
    made = Seq2SeqLMPolicy(small(258), tokenizer, value_head=False)
    critic = LanguageCritic(Seq2SeqTrunk(small(258), made.trunk.framing))
    trainer: Any = kpg.trainers.ActorCritic(made, critic, num_steps=T, seed=0)
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    rows, _ = collected(trainer, task(), 5)
    np.testing.assert_array_equal(rows.critic_state[0], rows.policy_state[0])
    before = values_of(critic.trunk.weights)
    trainer.fit(task([remainder]), steps_per_epoch=2, verbose=0)
    moved = zip(before, values_of(critic.trunk.weights), strict=True)
    assert any((ours != theirs).any() for ours, theirs in moved)
    trainer.save(tmp_path / "trainer.keras")
    loaded: Any = kpg.load(tmp_path / "trainer.keras")
    assert loaded.critic.trunk is not loaded.policy.trunk
    for ours, theirs in zip(
        values_of(loaded.weights), values_of(trainer.weights), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_an_export_writes_what_the_live_policy_writes(tmp_path: Any) -> None:
    made = policy("abc", small(), framing=FRAMING, temperature=0.7)
    path = kpg.export.export_policy(made, tmp_path, max_new_tokens=4)
    prompts = ["ba", "c", "abcab"]
    inputs = {
        "prompts": np.array([prompt.encode() for prompt in prompts], object),
        "seed": np.array(3, np.int32),
        "temperature": np.array(-1.0, np.float32),
        "max_new_tokens": np.array(-1, np.int32),
        "deterministic": np.array(False),
    }
    servable = Servable(path)
    outputs = servable.run("complete", inputs)
    texts, log_probs = made.complete(prompts, 4, seed=3)
    assert [found.decode() for found in outputs["completions"]] == texts
    np.testing.assert_allclose(outputs["log_probs"], log_probs, atol=1e-5)
    inputs["prompts"] = np.array([b"a" * 23], object)
    with pytest.raises(Exception, match="at most 22 tokens, a completion 22"):
        servable.run("complete", inputs)


@pytest.mark.usefixtures("one_by_one")
def test_is_saved_and_loaded(tmp_path: Any) -> None:
    options: dict[str, Any] = {"temperature": 0.5, "top_k": 7, "framing": FRAMING}
    lm = bart(258, num_layers=1)
    made = Seq2SeqLMPolicy(lm, kpg.text.ByteTokenizer(), **options)
    texts = made.generate(["ab", "c"], max_new_tokens=3)
    made.save(tmp_path / "policy.keras")
    loaded = keras.saving.load_model(tmp_path / "policy.keras")
    assert isinstance(loaded, Seq2SeqLMPolicy) and loaded.trunk.framing == FRAMING
    assert loaded.generate(["ab", "c"], max_new_tokens=3) == texts


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="use `kpg.models.Causal.*GPT2CausalLM"):
        Seq2SeqLMPolicy(gpt2(5), Letters("abc"))
    with pytest.raises(ValueError, match="use `kpg.models.Seq2Seq.*BartSeq2Seq"):
        CausalLMPolicy(small(), Letters("abc"))
    with pytest.raises(ValueError, match="a tokenizer with 6 tokens.*a model with 5"):
        Seq2SeqLMPolicy(small(), Letters("abcd"))
    with pytest.raises(ValueError, match="at least one token.*start=\\(\\)"):
        Seq2SeqLMPolicy(small(), Letters("abc"), framing=((), (1,), ()))
    with pytest.raises(ValueError, match="tokenizer=None"):
        Seq2SeqLMPolicy(small())
    made = policy("abc", small(), framing=FRAMING)
    made.check_room(22, 22)
    for lengths in ((23, 1), (1, 23)):
        with pytest.raises(ValueError, match="at most 22 tokens, a completion 22"):
            made.check_room(*lengths)
