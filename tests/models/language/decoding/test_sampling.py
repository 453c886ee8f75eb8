"""Texts written by the loop: against the model read as a whole, and KerasHub's own."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.decoding.decoder import CachedDecoder
from kpg.models.language.decoding.gpt2 import GPT2Decoder
from kpg.models.language.decoding.llama import LlamaDecoder
from kpg.models.language.decoding.sampling import Completions, Sampler
from kpg.models.language.decoding.selection import decoder_for
from kpg.models.language.decoding.tables import put_anywhere
from tests.texts import (
    before_the_last,
    gemma,
    gpt2,
    language,
    llama,
    padded,
    policy,
    teacher_forced,
)

PROMPTS = [[2, 3, 3], [4], [3, 2, 4, 4, 2], [2, 2]]
CASES: list[tuple[Any, Any, dict[str, Any]]] = [
    (gpt2, GPT2Decoder, {}),
    (gpt2, GPT2Decoder, {"temperature": 0.6, "top_k": 3}),
    (gpt2, CachedDecoder, {}),
    (llama, LlamaDecoder, {"temperature": 1.5, "top_p": 0.8}),
    (gemma, CachedDecoder, {}),
]


def write(made: Any, prompts: Any = PROMPTS, new_tokens: int = 6, **how: Any) -> Any:
    """Returns completions of the prompts."""
    sampler = Sampler(made, new_tokens, **how)
    table, lengths = padded(prompts)
    completions: Completions = sampler(
        tf.constant(table), tf.constant(lengths), tf.constant([3, 4])
    )
    return tf.nest.map_structure(lambda table: table.numpy(), completions)


def assert_consistent(made: Any, written: Any) -> None:
    """Holds log-probabilities, values and masks to one teacher-forced pass."""
    first, state = before_the_last(*padded(PROMPTS))
    observations = np.concatenate([first[np.newaxis], written.tokens[:-1]])
    sequences = (observations, state, np.zeros_like(written.valid))
    parameters, values = made.unroll_with(made.critic, *sequences)
    log_probs = made.family.log_prob(parameters, written.tokens)
    valid = written.valid
    for got, want in ((written.log_probs, log_probs), (written.values, values)):
        np.testing.assert_allclose(got[valid], want.numpy()[valid], atol=1e-5)
        assert not got[~valid].any()
    assert not written.tokens[~valid].any()
    ends = (written.tokens == 1).cumsum(0) - (written.tokens == 1)
    np.testing.assert_array_equal(valid, ends == 0)


@pytest.mark.parametrize(("build", "kind", "cut"), CASES)
def test_log_probabilities_are_those_of_teacher_forcing(
    build: Any, kind: Any, cut: dict[str, Any]
) -> None:
    made = policy("abc", build(5), **cut)
    written = write(made, decoder=kind(made.trunk))
    assert 0 < written.valid.sum() < written.valid.size  # some end, some do not
    assert_consistent(made, written)


@pytest.mark.parametrize(("build", "kind", "cut"), CASES[::2])
def test_prompts_that_are_alike_are_read_once(
    build: Any, kind: Any, cut: dict[str, Any]
) -> None:
    made = policy("abc", build(5), **cut)
    prompts = [prompt for prompt in PROMPTS for _ in range(3)]
    want = write(made, prompts, decoder=kind(made.trunk))
    got = write(made, prompts, decoder=kind(made.trunk), alike=3)
    np.testing.assert_array_equal(got.tokens, want.tokens)
    np.testing.assert_array_equal(got.valid, want.valid)
    for own, other in zip(got[1:3], want[1:3], strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)


def test_the_log_probabilities_are_kerashubs() -> None:
    made = policy("abc")
    written = write(made)
    for row, prompt in enumerate(PROMPTS):
        count = written.valid[:, row].sum()
        tokens = written.tokens[:count, row].tolist()
        want = teacher_forced(made, prompt, tokens)
        np.testing.assert_allclose(written.log_probs[:count, row], want, atol=1e-5)


def penalised(
    made: Any, prompt: list[int], completion: list[int], penalty: float
) -> list[float]:
    """Returns log-probabilities by the KerasHub model and a loop over tokens."""
    text, found = list(prompt), []
    for token in completion:
        inputs = {
            "token_ids": tf.constant([text]),
            "padding_mask": tf.ones([1, len(text)]),
        }
        logits = made.trunk.causal_lm(inputs)[0, -1].numpy().astype(np.float64)
        for seen in set(text):
            logits[seen] *= penalty if logits[seen] < 0.0 else 1.0 / penalty
        logits /= made.temperature
        probs = np.exp(logits - logits.max())
        probs[probs < made.writing.min_p] = 0.0
        found.append(float(np.log(probs[token] / probs.sum())))
        text.append(token)
    return found


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize(
    "kind", [pytest.param(GPT2Decoder, marks=pytest.mark.slow), CachedDecoder]
)
def test_penalties_and_stop_strings_are_in_the_distribution(kind: Any) -> None:
    how: dict[str, Any] = {"repetition_penalty": 1.7, "min_p": 0.02}
    made = policy("abc", gpt2(5), stop=["cb", "ccc"], temperature=1.5, **how)
    written = write(made, new_tokens=9, decoder=kind(made.trunk))
    stopped = 0
    for row, prompt in enumerate(PROMPTS):
        count = int(written.valid[:, row].sum())
        tokens = written.tokens[:count, row].tolist()
        text = "".join(" $abc"[token] for token in tokens).replace(" ", "")
        inside = [word in text[:-1] for word in ("cb", "ccc")]
        assert not any(inside) and 1 not in tokens[:-1]
        over = tokens[-1] == 1 or text.endswith(("cb", "ccc"))
        stopped += text.endswith(("cb", "ccc"))
        assert over == (count < 9) or count == 9
        want = penalised(made, prompt, tokens, 1.7)
        np.testing.assert_allclose(written.log_probs[:count, row], want, atol=1e-5)
    assert stopped
    first, state = before_the_last(*padded(PROMPTS))
    observations = np.concatenate([first[np.newaxis], written.tokens[:-1]])
    parameters, _ = made.unroll(observations, state, np.zeros_like(written.valid))
    log_probs = made.family.log_prob(parameters, written.tokens).numpy()
    valid = written.valid
    np.testing.assert_allclose(written.log_probs[valid], log_probs[valid], atol=1e-5)


def test_all_texts_that_can_be_written_share_the_probability() -> None:
    how: dict[str, Any] = {"repetition_penalty": 1.7, "stop": ["ab", "c"]}
    made = policy("abc", gpt2(5), end_tokens=[0], **how)
    words = set()
    for word in itertools.product(range(5), repeat=3):
        ends = [
            made.ending.ended(np.array(word[:size], np.int32)) for size in (1, 2, 3)
        ]
        words.add(word[: ends.index(True) + 1] if True in ends else word)
    assert len(words) < 125 and (2, 3) in words and (4,) in words
    table, counts = padded(sorted(words))
    prompts = np.tile(np.array([[3, 2]], np.int32), [len(table), 1])
    first, state = made.begin(prompts, np.full(len(table), 2, np.int32))
    observations = np.concatenate([first[np.newaxis], table.T[:-1]])
    parameters, _ = made.unroll(observations, state, np.zeros(table.T.shape, bool))
    log_probs = made.family.log_prob(parameters, table.T).numpy()
    log_probs[np.arange(3)[:, np.newaxis] >= counts] = 0.0
    np.testing.assert_allclose(np.exp(log_probs.sum(0)).sum(), 1.0, atol=1e-5)


@pytest.mark.slow
def test_xla_writes_penalised_texts_too() -> None:
    how: dict[str, Any] = {"repetition_penalty": 1.7, "min_p": 0.02, "stop": ["cb"]}
    made = policy("abc", gpt2(5), temperature=1.5, **how)
    arguments = (*map(tf.constant, padded(PROMPTS)), tf.constant([3, 4]))
    plain, fast = (
        tf.function(Sampler(made, 9).__call__, jit_compile=jit, autograph=False)
        for jit in (False, True)
    )
    want, got = plain(*arguments), fast(*arguments)
    np.testing.assert_array_equal(got.tokens, want.tokens)
    np.testing.assert_array_equal(got.valid, want.valid)
    np.testing.assert_allclose(got.log_probs, want.log_probs, atol=1e-5)


def test_stages_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy("abc", gpt2(5))
    whole = write(made)
    monkeypatch.setattr(GPT2Decoder, "stages", lambda *_: [1, 2, 3])
    parts = write(made)
    assert 0 < whole.valid.sum() < whole.valid.size  # some end, some do not
    np.testing.assert_array_equal(parts.tokens, whole.tokens)
    np.testing.assert_allclose(parts.log_probs, whole.log_probs, atol=1e-5)
    assert_consistent(made, parts)


@pytest.mark.parametrize("build", [gpt2, llama, gemma])
def test_greedy_tokens_are_kerashubs(build: Any) -> None:
    made = policy("abcdefgh", build(10))
    written = write(made, new_tokens=5, deterministic=True)
    table, lengths = padded(PROMPTS)
    room = np.pad(table, [(0, 0), (0, 5)])
    lm = made.trunk.causal_lm
    lm.compile(sampler="greedy", run_eagerly=True)
    known = np.arange(room.shape[1]) < lengths[:, np.newaxis]
    theirs = lm.generate(
        {"token_ids": room, "padding_mask": known}, stop_token_ids=(1,)
    )["token_ids"]
    for row, length in enumerate(lengths):
        count = written.valid[:, row].sum()
        assert count == 5 or written.tokens[count - 1, row] == 1
        ours = written.tokens[:count, row]
        np.testing.assert_array_equal(ours, theirs[row, length : length + count])


def test_samples_follow_the_distribution() -> None:
    made, count = policy("a"), 4000
    written = write(made, prompts=[[2, 2], [2]] * (count // 2), new_tokens=2)
    drawn = Counter(
        (row % 2, tuple(written.tokens[: written.valid[:, row].sum(), row]))
        for row in range(count)
    )
    for which, prompt in enumerate([[2, 2], [2]]):
        for word in language(3, 2):
            prob = np.exp(teacher_forced(made, prompt, word).numpy().sum())
            error = np.sqrt(prob * (1.0 - prob) / (count / 2))
            assert abs(drawn[which, word] / (count / 2) - prob) < 4.0 * error + 1e-6


def test_the_loop_ends_with_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy("abc")
    steps: list[int] = []

    class Counted(CachedDecoder):
        def advance(
            self, tokens: tf.Tensor, step: tf.Tensor, lengths: tf.Tensor, cache: Any
        ) -> Any:
            tf.py_function(lambda: steps.append(1), [], [])
            return super().advance(tokens, step, lengths, cache)

    bias = tf.one_hot(1, 5) * 100.0
    own = made.trunk.logits
    monkeypatch.setattr(made.trunk, "logits", lambda rows: own(rows) + bias)
    written = write(made, prompts=[[2], [3]], decoder=Counted(made.trunk))
    assert written.valid.sum(0).tolist() == [1, 1]
    assert len(steps) == 1


def test_without_a_critic_values_are_zero() -> None:
    made = policy("abc", value_head=False)
    assert not write(made).values.any()


@pytest.mark.parametrize(
    "kind", [pytest.param(GPT2Decoder, marks=pytest.mark.slow), CachedDecoder]
)
def test_one_trace_and_one_compilation(kind: Any) -> None:
    made = policy("abc", gpt2(5, num_layers=1, hidden_dim=8))
    sampler = Sampler(made, 3, decoder=kind(made.trunk))
    function = tf.function(sampler.__call__, jit_compile=True, autograph=False)
    seconds = []
    for prompts, seed in (([[2], [3, 3, 2]], 0), ([[4, 4], [2, 4, 4]], 1)):
        table, lengths = padded(prompts)
        start = time.process_time()
        written = function(
            tf.constant(table), tf.constant(lengths), tf.constant([seed, 5])
        )
        seconds.append(time.process_time() - start)
        assert written.tokens.shape == (3, 2)
    assert function.experimental_get_tracing_count() == 1
    # XLA compiles anew for each value of what it takes for a constant, and no count
    # of traces tells.
    assert seconds[1] < 0.2 * seconds[0]


@pytest.mark.parametrize(
    ("build", "deterministic"),
    [
        (gpt2, False),
        (gemma, True),
        pytest.param(llama, True, marks=pytest.mark.slow),
        pytest.param(gemma, False, marks=pytest.mark.slow),
    ],
)
def test_other_operations_write_the_same_texts(build: Any, deterministic: bool) -> None:
    made = policy("abc", build(5))
    prompts, lengths = padded(PROMPTS)
    arguments = (tf.constant(prompts), tf.constant(lengths), tf.constant([5, 6]))
    right = Sampler(made, 4, deterministic)(*arguments)
    portable = decoder_for(made.trunk, portable=True)
    sampler = Sampler(
        *(made, tf.constant(4), tf.constant(deterministic), portable),
        temperature=tf.constant(1.0),
        write=put_anywhere,
    )
    specs = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    specs.append(tf.TensorSpec([2], tf.int32))
    function = tf.function(sampler.__call__, specs, autograph=False)
    got = function(*arguments)
    np.testing.assert_array_equal(got.tokens, right.tokens)
    np.testing.assert_array_equal(got.valid, right.valid)
    np.testing.assert_allclose(got.log_probs, right.log_probs, atol=1e-5)
    np.testing.assert_allclose(got.values, right.values, atol=1e-5)
    kinds = {
        node.type for node in function.get_concrete_function().graph.get_operations()
    }
    assert not [kind for kind in kinds if kind.startswith("Xla")]


def test_the_temperature_can_be_another() -> None:
    cold, made = policy("abc", temperature=0.3), policy("abc")
    prompts, lengths = padded(PROMPTS)
    arguments = (tf.constant(prompts), tf.constant(lengths), tf.constant([5, 6]))
    right = Sampler(cold, 3)(*arguments)
    got = Sampler(made, 3, temperature=tf.constant(0.3))(*arguments)
    np.testing.assert_array_equal(got.tokens, right.tokens)
    np.testing.assert_allclose(got.log_probs, right.log_probs, atol=1e-5)
