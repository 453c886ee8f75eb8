"""A language model as a recurrent policy: against the model itself."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg import text
from kpg.distributions import TruncatedFamily
from kpg.models import CausalLMPolicy, LanguageCritic
from tests.texts import (
    Letters,
    before_the_last,
    gpt2,
    llama,
    padded,
    policy,
    teacher_forced,
)

PROMPTS = [[2, 3, 3], [4], [3, 2, 4, 4, 2], [2, 2]]
COMPLETIONS = [[3, 4, 2, 1], [2, 2, 2, 2], [4, 1, 3, 3], [1, 4, 4, 3]]


def rows() -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Returns observations `[T, B]` and the state before them."""
    first, state = before_the_last(*padded(PROMPTS))
    completions = np.array(COMPLETIONS, np.int32).T
    return np.concatenate([first[np.newaxis], completions[:-1]]), state


def unrolled(model: Any) -> tuple[tf.Tensor, Any]:
    observations, state = rows()
    resets = tf.zeros(observations.shape, tf.bool)
    result: tuple[tf.Tensor, Any] = model.unroll(observations, state, resets)
    return result


@pytest.mark.parametrize("build", [gpt2, llama])
def test_unrolling_is_teacher_forcing(build: Any) -> None:
    made = policy("abc", build(5), temperature=0.7)
    parameters, _ = unrolled(made)
    log_probs = made.family.log_prob(parameters, tf.transpose(COMPLETIONS)).numpy()
    for row, pair in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        want = teacher_forced(made, *pair)
        np.testing.assert_allclose(log_probs[:, row], want, atol=1e-5)


def test_steps_go_where_unrolling_goes() -> None:
    made = policy("abc")
    observations, state = rows()
    models: list[Any] = [made, made.critic]
    for model in models:
        outputs, states = unrolled(model)
        carried: Any = state
        for step, tokens in enumerate(observations):
            output, carried = model.step(tf.constant(tokens), carried)
            np.testing.assert_allclose(output, outputs[step], atol=1e-5)
            lengths = carried[1].numpy()
            np.testing.assert_array_equal(lengths, states[1][step])
            for row, length in enumerate(lengths):
                own = carried[0][row, :length]
                np.testing.assert_array_equal(own, states[0][step, row, :length])
                assert not states[0][step, row, length:].numpy().any()


def test_padding_is_never_read() -> None:
    made = policy("abc")
    observations, (tokens, lengths) = rows()
    resets = tf.zeros(observations.shape, tf.bool)
    known = np.arange(tokens.shape[1]) < lengths[:, np.newaxis]
    other = (np.where(known, tokens, 4), lengths)
    want, _ = made.unroll(observations, (tokens, lengths), resets)
    got, _ = made.unroll(observations, other, resets)
    np.testing.assert_array_equal(got, want)


def test_the_first_token_of_a_text() -> None:
    made = policy("abc")
    want = tf.nn.log_softmax(made.trunk.logits(made.trunk(tf.constant([[2], [3]]))))
    tokens = tf.constant([2, 3])
    log_probs = made.log_prob(tokens, tf.constant([4, 1]))
    np.testing.assert_allclose(log_probs, [want[0, 0, 4], want[1, 0, 1]], atol=1e-6)
    np.testing.assert_array_equal(made.mode(tokens), tf.argmax(want[:, 0], -1))
    np.testing.assert_allclose(
        made.entropy(tokens), made.distribution(tokens).entropy(), atol=1e-6
    )
    actions, own = made.sample(tokens, tf.constant([1, 2]))
    np.testing.assert_allclose(own, made.log_prob(tokens, actions))


def test_both_heads_in_one_pass() -> None:
    made = policy("abc")
    assert made.critic is not None
    observations, state = rows()
    resets = tf.zeros(observations.shape, tf.bool)
    both = made.unroll_with(made.critic, observations, state, resets)
    for got, model in zip(both, (made, made.critic), strict=True):
        np.testing.assert_allclose(got, unrolled(model)[0], atol=1e-6)


def test_generates_texts() -> None:
    made = policy("abc")
    prompts = ["ba", "c", "abcab"]
    texts = made.generate(prompts, max_new_tokens=6, seed=3)
    assert made.generate(prompts, max_new_tokens=6, seed=3) == texts
    assert made.generate(prompts, max_new_tokens=6, seed=4) != texts
    assert len(texts) == 3 and set("".join(texts)) <= set("abc")
    greedy = made.generate(prompts, max_new_tokens=2, deterministic=True)
    for prompt, got in zip(prompts, greedy, strict=True):
        tokens = [2 + "abc".index(letter) for letter in prompt]
        for _ in range(2):
            logits = made.trunk.logits(made.trunk(tf.constant([tokens])))
            tokens.append(int(tf.argmax(logits[0, -1])))
            if tokens[-1] == 1:
                break
        assert got == "".join("  abc"[token] for token in tokens[len(prompt) :]).strip()
    with pytest.raises(ValueError, match="each prompt must have one.*Received: ''"):
        made.generate(["a", ""])
    with pytest.raises(ValueError, match="at most 24 tokens.*max_new_tokens=24"):
        made.generate(["a"], max_new_tokens=24)


def test_dropout_is_off() -> None:
    import keras_nlp

    backbone = keras_nlp.models.GPT2Backbone(5, 1, 2, 8, 16, dropout=0.5)
    made = policy("abc", keras_nlp.models.GPT2CausalLM(backbone=backbone))
    observations, state = rows()
    resets = tf.zeros(observations.shape, tf.bool)
    once, _ = made.unroll(observations, state, resets, training=True)
    again, _ = made.unroll(observations, state, resets, training=True)
    np.testing.assert_array_equal(once, again)


def test_a_new_value_head_says_zero_and_is_nobody_elses() -> None:
    made = CausalLMPolicy(gpt2(5), Letters("abc"))
    assert made.critic is not None
    np.testing.assert_array_equal(made.critic(tf.constant([2, 3])), [0.0, 0.0])
    own = {id(variable) for variable in made.critic.head.variables}
    assert not own & {id(variable) for variable in made.variables}
    assert CausalLMPolicy(gpt2(5), Letters("abc"), value_head=False).critic is None


def test_is_saved_and_loaded(tmp_path: Any) -> None:
    lm = gpt2(258, num_layers=1)
    options: dict[str, Any] = {"temperature": 0.5, "top_k": 7, "top_p": 0.9}
    made = CausalLMPolicy(lm, text.ByteTokenizer(), **options)
    texts = made.generate(["ab"], max_new_tokens=3)
    made.save(tmp_path / "policy.keras")
    loaded = keras.saving.load_model(tmp_path / "policy.keras")
    assert isinstance(loaded.family, TruncatedFamily)
    tokens = tf.constant([65, 70])
    np.testing.assert_array_equal(loaded(tokens), made(tokens))
    assert {k: loaded.get_config()[k] for k in options} == options
    assert isinstance(loaded.tokenizer, text.ByteTokenizer)
    assert loaded.generate(["ab"], max_new_tokens=3) == texts


def test_a_vocabulary_is_saved_too(tmp_path: Any) -> None:
    from tests.test_text_coding import bpe

    tokenizer = bpe(_allow_python_workflow=False)
    lm = gpt2(tokenizer.vocabulary_size(), num_layers=1)
    CausalLMPolicy(lm, tokenizer).save(tmp_path / "policy.keras")
    loaded = keras.saving.load_model(tmp_path / "policy.keras")
    assert loaded.tokenizer.vocabulary == tokenizer.vocabulary


def test_a_critic_needs_its_policy() -> None:
    made = policy("abc")
    assert made.critic is not None
    config = made.critic.get_config()
    assert LanguageCritic.from_config(config, trunk=made) is made.critic
    with pytest.raises(ValueError, match="trunk=None"):
        LanguageCritic.from_config(config)


def test_refuses_another_kind_of_model() -> None:
    with pytest.raises(ValueError, match="CausalLM of keras_nlp.*Sequential"):
        CausalLMPolicy(keras.Sequential(), Letters())


def test_refuses_a_model_without_a_tokenizer() -> None:
    with pytest.raises(ValueError, match="tokenizer=None"):
        CausalLMPolicy(gpt2(5))


def test_refuses_a_vocabulary_that_the_model_cannot_cover() -> None:
    with pytest.raises(ValueError, match="a tokenizer with 6 tokens.*a model with 5"):
        CausalLMPolicy(gpt2(5), Letters("abcd"))


def test_refuses_a_temperature_of_zero() -> None:
    with pytest.raises(ValueError, match="temperature=0.0"):
        CausalLMPolicy(gpt2(5), Letters("abc"), temperature=0.0)
