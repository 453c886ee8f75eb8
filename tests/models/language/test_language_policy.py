"""A language model as a recurrent policy: against the model itself."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg import text
from kpg.distributions import TruncatedFamily
from kpg.models import CausalLMPolicy
from kpg.models.player import Player
from tests.judging import V, assert_same, judged
from tests.texts import (
    Begun,
    Letters,
    bpe,
    gpt2,
    policy,
    teacher_forced,
)


@pytest.mark.usefixtures("one_by_one")
def test_generates_texts() -> None:
    made = policy("abc", gpt2(5, num_layers=1, hidden_dim=8))
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
    assert made.generate("ba", 6, seed=3) == made.generate(["ba"], 6, seed=3)[0]


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        (["a", ""], {}, "at least one token.*Received: ''"),
        (["a", 3], {}, "a string or messages.*Received: prompt=3"),
        ([["a"]], {}, r"a string or messages.*Received: prompt=\['a'\]"),
        ([], {}, "at least one. Received"),
        ({"prompt": ["a"]}, {}, "rows in an order.*Received: prompts=dict"),
        (["a"], {"max_new_tokens": 24}, "at most 24 tokens.*max_new_tokens=24"),
        (["a"], {"max_new_tokens": 0}, "at least 1. Received: max_new_tokens=0"),
        (["a"], {"max_new_tokens": 2.5}, "Received: max_new_tokens=2.5"),
        (["a"], {"seed": 2**31}, "Received: seed=2147483648"),
        (
            ["a"],
            {"max_new_tokens": 4, "deterministic": "no"},
            "Received: deterministic='no'",
        ),
    ],
)
def test_refuses_to_generate(prompts: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy("abc").generate(prompts, **options)


def test_several_completions_need_a_list() -> None:
    with pytest.raises(ValueError, match="as a list of one.*Received: prompts='a'"):
        policy("abc").complete("a")


@pytest.mark.usefixtures("one_by_one")
def test_prompts_may_be_messages() -> None:
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}b"
    made = policy("abc", gpt2(5, num_layers=1), chat_template=template)
    chat = [{"role": "system", "content": "ca"}, {"role": "user", "content": "a"}]
    assert made.prompt_of(chat) == "caab" and made.prompt_of("ab") == "ab"
    texts = made.generate(["caab"], 5, seed=3)
    assert made.generate([chat], 5, seed=3) == texts
    assert [made.generate(chat, 5, seed=3)] == texts
    setattr(made.tokenizer, "chat_template", "never")  # noqa: B010  # a part of some
    assert made.prompt_of(chat) == "caab"
    env = kpg.environments.TextGeneration(
        [chat, chat], rewards=[kpg.rewards.LetterShare()], num_envs=2, max_new_tokens=8
    )
    tokens, _ = env.task.padded(made, 8)
    assert tokens.tolist() == [[4, 2, 2, 3]] * 2 and env.prompts == ["a", "a"]
    assert env.columns["messages"] == [chat, chat]


def test_messages_need_a_template() -> None:
    chat = [{"role": "user", "content": "a"}]
    with pytest.raises(ValueError, match="give the policy a `chat_template`"):
        policy("abc").generate([chat], 3)


@pytest.mark.parametrize(
    ("side", "want"),
    [("left", [[5, 2, 3], [5, 4, 0]]), ("right", [[5, 3, 4], [5, 4, 0]])],
)
def test_prompts_are_cut_and_keep_their_start(side: str, want: Any) -> None:
    made = CausalLMPolicy(gpt2(6), Begun())
    tokens, lengths = made.padded(["bcab", "c"], 3, side)
    assert tokens.tolist() == want and lengths.tolist() == [3, 2]
    whole, _ = CausalLMPolicy(gpt2(6), Begun(), add_start_token=False).padded(
        ["bcab"], 3, side
    )
    assert whole.tolist() == ([[4, 2, 3]] if side == "left" else [[3, 4, 2]])


def test_embeddings_are_means_over_tokens() -> None:
    made = policy("abc")
    table = made.trunk.lm.backbone.token_embedding.embeddings.numpy()
    found = made.embed(["ab", "", "c"])
    want = [table[[2, 3]].mean(0), np.zeros(table.shape[1]), table[4]]
    np.testing.assert_allclose(found, want, atol=1e-6)


@pytest.mark.usefixtures("one_by_one")
def test_is_saved_and_loaded(tmp_path: Any) -> None:
    lm = gpt2(258, num_layers=1)
    options: dict[str, Any] = {"temperature": 0.5, "top_k": 7, "top_p": 0.9}
    options |= {"min_p": 0.01, "repetition_penalty": 1.5, "chat_template": "x"}
    options |= {"stop": ["q", "é\n"], "end_tokens": [7, "Q"]}
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
    tokenizer = bpe(_allow_python_workflow=False)
    lm = gpt2(tokenizer.vocabulary_size(), num_layers=1)
    CausalLMPolicy(lm, tokenizer).save(tmp_path / "policy.keras")
    loaded = keras.saving.load_model(tmp_path / "policy.keras")
    assert loaded.tokenizer.vocabulary == tokenizer.vocabulary


def test_refuses_a_model_without_a_tokenizer() -> None:
    with pytest.raises(ValueError, match="tokenizer=None"):
        CausalLMPolicy(gpt2(5))


def test_refuses_a_vocabulary_that_the_model_cannot_cover() -> None:
    with pytest.raises(ValueError, match="a tokenizer with 6 tokens.*a model with 5"):
        CausalLMPolicy(gpt2(5), Letters("abcd"))


def test_refuses_a_stop_string_that_the_tokenizer_cannot_make() -> None:
    with pytest.raises(ValueError, match="one that the tokenizer can write.*'ad'"):
        policy("abc", stop=["ab", "ad"])


def test_refuses_a_temperature_of_zero() -> None:
    with pytest.raises(ValueError, match="temperature=0.0"):
        CausalLMPolicy(gpt2(5), Letters("abc"), temperature=0.0)


def test_prompts_of_all_shapes_share_a_graph() -> None:
    made = policy("abc", gpt2(5, num_layers=1))
    batches = (["ab"], ["a", "cab"], ["ab", "c", "abc"])
    texts = [made.generate(prompts, 3, deterministic=True) for prompts in batches]
    assert made._completing(3, True).experimental_get_tracing_count() == 1
    assert texts[0][0] == texts[2][0]


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_k": 2}])
def test_scores_what_teacher_forcing_scores(options: dict[str, Any]) -> None:
    made = policy("abc", **options)
    prompts = [[2, 3], [4], [3, 3, 2, 4]]
    completions = [[3], [2, 2, 4, 1], [4, 1]]
    found = made.score([np.array(row) for row in prompts], completions)
    for row, prompt, completion in zip(found, prompts, completions, strict=True):
        want = teacher_forced(made, prompt, completion)
        np.testing.assert_allclose(row, want, atol=1e-5)
    texts = made.score(["ab", "c"], ["b", "aac"])
    np.testing.assert_allclose(texts[0], found[0], atol=1e-6)
    np.testing.assert_allclose(texts[1], found[1][:3], atol=1e-5)


def test_scores_what_it_sampled(one_by_one: None) -> None:
    made = policy("abc")
    texts, log_probs = made.complete(["ba", "c"], max_new_tokens=5, seed=3)
    rows = [[*(2 + "abc".index(letter) for letter in text), 1] for text in texts]
    found = made.score(["ba", "c"], [np.array(row[:5]) for row in rows])
    np.testing.assert_allclose([row.sum() for row in found], log_probs, atol=1e-5)


@pytest.mark.usefixtures("one_by_one")
def test_scores_pairs_that_do_not_fit_into_one_table() -> None:
    made = policy("abc")
    long, short = np.full(20, 2), np.array([3])
    found = made.score([long, short], [short, long])
    want = teacher_forced(made, [3], long.tolist())
    np.testing.assert_allclose(found[1], want, atol=1e-5)
    with pytest.raises(ValueError, match="at most 24 tokens together"):
        made.score([long], [long])


@pytest.mark.parametrize(
    ("prompts", "completions", "message"),
    [
        (["a"], ["a", "b"], "1 prompts, 2 completions"),
        ([], [], "at least one. Received"),
        (["a"], [""], "at least one token.*Received: ''"),
        ([[2]], [[7]], r"only tokens of the model. Received: \[7\]"),
        ("a", ["a"], "as a list of one.*Received: prompts='a'"),
        (["a"], "a", "as a list of one.*Received: completions='a'"),
    ],
)
def test_refuses_to_score(prompts: Any, completions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy("abc").score(prompts, completions)


def begun(**options: Any) -> CausalLMPolicy:
    return CausalLMPolicy(gpt2(6, num_layers=1), Begun(), **options)


def test_prompts_begin_with_the_start_token(one_by_one: None) -> None:
    made, plain = begun(), begun(add_start_token=False)
    tokens, lengths = made.padded(["ba", "^c", ""])
    assert tokens.tolist() == [[5, 3, 2], [5, 4, 0], [5, 0, 0]]
    assert lengths.tolist() == [3, 2, 1]
    with pytest.raises(ValueError, match="at least one token"):
        plain.padded([""])
    ways: list[dict[str, Any]] = [{"seed": 1}, {"deterministic": True}]
    for how in ways:
        got = made.complete(["ba", "c"], 5, **how)
        want = plain.complete(["^ba", "^c"], 5, **how)
        assert got[0] == want[0]
        np.testing.assert_array_equal(got[1], want[1])
    found = made.score(["ba"], ["cc"])
    np.testing.assert_array_equal(found[0], plain.score([[5, 3, 2]], [[4, 4]])[0])
    # What is scored by tokens is scored as it is.
    np.testing.assert_array_equal(found[0], made.score([[5, 3, 2]], ["cc"])[0])
    assert made.codec.encode(["ba"])[0].tolist() == [3, 2]


@pytest.mark.usefixtures("one_by_one")
def test_the_start_token_is_saved_and_older_policies_have_none() -> None:
    tokenizer = text.BPETokenizer(
        ["<pad>", "<end>", "<bos>", "a"], [], "<end>", "<pad>", start_token="<bos>"
    )
    made = CausalLMPolicy(gpt2(4, num_layers=1), tokenizer, add_start_token=True)
    assert made.padded(["a"])[0].tolist() == [[2, 3]]
    config = made.get_config()
    assert CausalLMPolicy.from_config(config).add_start_token
    del config["add_start_token"]
    assert not CausalLMPolicy.from_config(config).add_start_token


def test_a_padded_vocabulary_is_decoded(one_by_one: None) -> None:
    """Models often have more tokens than their tokenizer."""
    for tokenizer in (Letters("abc"), text.WordTokenizer(["the", "dog"])):
        size = tokenizer.vocabulary_size()
        made = CausalLMPolicy(gpt2(size + 500, num_layers=1), tokenizer)
        texts = made.generate(["a", "b"], 8, seed=1)
        assert len(texts) == 2
        known = np.array([2], np.int32)
        more = np.array([size, size + 7, 2], np.int32)
        assert made.texts([more]) == made.texts([known])


def test_it_does_not_act_by_hand_but_writes() -> None:
    made: Any = policy("ab")
    calls: list[Any] = [lambda: made.act(["a"], seed=1), lambda: Player(made)]
    for call in calls:
        with pytest.raises(ValueError, match=r"generate\(prompts\)`. Received: Causal"):
            call()


def test_texts_that_begin_alike_are_judged_as_if_read_apart() -> None:
    made = policy("abcde", gpt2(V, num_layers=2), temperature=0.8)
    assert_same(judged(made, alike=2), judged(made), atol=1e-5)
