"""Likelihood rewards with a model whose probabilities can be added up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from kpg.rewards import ExecutorLogLikelihood, Fluency, Scorer, evaluate
from tests.mutants.subject import close
from tests.texts import policy, teacher_forced

VOCABULARY, END = 3, 0
# p(next | last) of three tokens.
TABLE = np.array([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.1, 0.6, 0.3]])


class Bigrams:
    """A language model that looks one token back."""

    def score(
        self, prompt_ids: Sequence[Any], completion_ids: Sequence[Any]
    ) -> list[np.ndarray]:
        return [
            np.log(TABLE[[prompt[-1], *ids[:-1]], ids]).astype(np.float32)
            for prompt, ids in zip(prompt_ids, completion_ids, strict=True)
        ]


def completions() -> list[list[int]]:
    """Returns what can be written with at most two tokens, the end token included."""
    pairs = itertools.product((1, 2), range(VOCABULARY))
    return [[END], *(list(pair) for pair in pairs)]


def batch() -> dict[str, Any]:
    ids = completions()
    return {
        "prompts": ["b"] * len(ids),
        "completions": ["?"] * len(ids),
        "prompt_ids": [[2, 1]] * len(ids),
        "completion_ids": ids,
    }


def test_probabilities_of_all_completions_add_up_to_one() -> None:
    scorer: Scorer = Bigrams()
    scores = ExecutorLogLikelihood(scorer, per_token=False)(**batch())
    close(np.exp(np.array(scores)).sum(), 1.0)


def test_each_token_has_its_own_reward() -> None:
    given = batch()
    dense: list[Any] = list(ExecutorLogLikelihood(Bigrams())(**given))
    whole = ExecutorLogLikelihood(Bigrams(), per_token=False)(**given)
    assert [np.shape(row) for row in dense] == [(1,), *[(2,)] * 6]
    close([np.sum(row) for row in dense], whole)
    close(dense[given["completion_ids"].index([2, 1])], np.log([0.5, 0.6]))


def test_fluency_is_minus_the_log_of_the_perplexity() -> None:
    given = batch()
    found = dict(
        zip(map(tuple, completions()), Fluency(Bigrams())(**given), strict=True)
    )
    close(found[2, 1], -np.log(1 / np.sqrt(0.5 * 0.6)))
    close(found[END,], np.log(0.2))


def test_rewards_of_tokens_reach_their_places() -> None:
    given = batch()
    texts = given.pop("prompts"), given.pop("completions")
    reward = ExecutorLogLikelihood(Bigrams())
    total = evaluate([reward], [2.0], *texts, given).total
    for row, ids in zip(total, given["completion_ids"], strict=True):
        chain = [1, *ids]
        expected = [2 * np.log(TABLE[a, b]) for a, b in itertools.pairwise(chain)]
        close(row, [*expected, 0.0][:2])


def test_what_is_no_log_probability_of_each_token_is_refused() -> None:
    class Wrong(Bigrams):
        def __init__(self, change: Any) -> None:
            self.change = change

        def score(self, prompt_ids: Any, completion_ids: Any) -> Any:
            return [
                self.change(row) for row in super().score(prompt_ids, completion_ids)
            ]

    for kind in (Fluency, ExecutorLogLikelihood):
        with pytest.raises(ValueError, match="are these logits. Received: 3.6"):
            kind(Wrong(lambda row: row + 4.11))(**batch())
        with pytest.raises(ValueError, match=r"one log-probability .*: \[\(1,\), \(2,"):
            kind(Wrong(lambda row: row[:1]))(**batch())
        with pytest.raises(ValueError, match=rf"`{kind.__name__}` .* `prompt_ids`"):
            kind(Bigrams())([""], [""], completion_ids=[[1]])


def test_the_model_is_no_part_of_the_configuration() -> None:
    reward = ExecutorLogLikelihood(Bigrams(), per_token=False, name="e")
    assert reward.get_config() == {"per_token": False, "name": "e"}
    config = {**reward.get_config(), "scorer": Bigrams()}
    again = ExecutorLogLikelihood.from_config(config)
    assert again.get_config() == reward.get_config()
    assert Fluency(Bigrams()).get_config() == {"name": "fluency"}


def test_a_policy_is_a_scorer() -> None:
    made = policy("ab")
    given = {**batch(), "prompt_ids": [[2, 3]] * 7}
    dense: list[Any] = list(ExecutorLogLikelihood(made)(**given))
    for row, ids in zip(dense, given["completion_ids"], strict=True):
        close(row, teacher_forced(made, [2, 3], ids).numpy())
    close(Fluency(made)(**given), [np.mean(row) for row in dense])


def test_what_cannot_score_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="`scorer` must have.*Received: object"):
        Fluency(object())  # type: ignore[arg-type]
    # KerasHub's models have a `score` of another kind.
    with pytest.raises(ValueError, match="make one of a model.*GPT2CausalLM"):
        ExecutorLogLikelihood(policy("ab").trunk.causal_lm)


def test_what_the_scorer_said_while_it_wrote_is_not_asked_again() -> None:
    class Counting(Bigrams):
        asked = 0

        def score(self, prompt_ids: Any, completion_ids: Any) -> Any:
            self.asked += len(prompt_ids)
            return super().score(prompt_ids, completion_ids)

    scorer, given = Counting(), batch()
    want: list[Any] = list(ExecutorLogLikelihood(scorer)(**given))
    told: list[Any] = [(scorer, row + 1.0) for row in want]
    told[2] = (scorer, want[2] * np.nan)  # a phrase, which nobody chose
    told[4] = (object(), want[4])
    scorer.asked = 0
    found = ExecutorLogLikelihood(scorer)(**given, executor_log_likelihoods=told)
    assert scorer.asked == 2
    for index, (row, wanted) in enumerate(zip(found, want, strict=True)):
        close(row, wanted + (index not in (2, 4)))


def test_a_scorer_with_another_tokenizer_is_refused() -> None:
    ids = [np.array([3, 4], np.int32)]
    given: Any = {"prompts": ["a"], "prompt_ids": ids, "completion_ids": ids}
    assert Fluency(policy("abc"))(completions=["bc"], **given)
    with pytest.raises(ValueError, match="tokens of the policy.*reads 'ac' where 'bc'"):
        Fluency(policy("bac"))(completions=["bc"], **given)
