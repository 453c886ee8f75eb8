"""What a language model thinks of a completion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from typing_extensions import override

from kpg.language.rewards.reward import Column, Reward, Score, token_ids
from kpg.types import Array, Config

# A column of what needs no asking: pairs of the model that wrote a completion and what
# it gave to the tokens meanwhile, NaN where it did not choose them.
TOLD = "executor_log_likelihoods"


class Scorer(Protocol):
    """A language model that says how likely tokens are: `kpg.models.CausalLMPolicy`.

    Its tokens must be those of the policy that writes.
    """

    def score(
        self, prompt_ids: Sequence[Array], completion_ids: Sequence[Array]
    ) -> Sequence[Array]:
        """Returns log p(token | prompt, tokens before) of each completion's tokens.

        Both arguments are B int64 arrays of any lengths, completions of 1 or more. The
        result is B float arrays in nats, each as long as its completion.
        """
        ...


class Likelihood(Reward, ABC):
    """A reward of the log-probabilities that a model gives to a completion's tokens.

    The model is not part of the configuration: `from_config({**config, "scorer": lm})`.
    """

    requires = ("prompt_ids", "completion_ids")

    def __init__(self, scorer: Scorer, name: str) -> None:
        super().__init__(name)
        if not callable(getattr(scorer, "score", None)) or hasattr(scorer, "backbone"):
            raise ValueError(
                "`scorer` must have `score(prompt_ids, completion_ids)`, as a "
                "`kpg.models.CausalLMPolicy` has; make one of a model of KerasHub. "
                f"Received: {type(scorer).__name__}"
            )
        self.scorer = scorer

    @abstractmethod
    def score(self, log_probs: Array) -> Score:
        """Scores one completion by the log-probabilities of its tokens, `[tokens]`."""

    @override
    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Column
    ) -> list[Score]:
        prompt_ids = token_ids(self, columns, "prompt_ids")
        completion_ids = token_ids(self, columns, "completion_ids")
        nothing = (None, np.full(1, np.nan))
        told = columns.get(TOLD) or [nothing] * len(prompt_ids)
        asked = [
            index
            for index, (scorer, row) in enumerate(told)
            if scorer is not self.scorer or np.isnan(row).any()
        ]
        rows = [row for _, row in told]
        if asked:
            given = [[ids[i] for i in asked] for ids in (prompt_ids, completion_ids)]
            self._check_tokens(completions[asked[0]], given[1][0])
            found = self._asked(*given)
            rows = [found.pop(0) if i in asked else row for i, row in enumerate(rows)]
        return [self.score(row) for row in rows]

    def _check_tokens(self, completion: str, ids: Array) -> None:
        """Refuses a scorer that reads something else in a completion's tokens."""
        read = getattr(self.scorer, "texts", None)
        if read is None:
            return
        (text,) = read([ids.astype(np.int32)])
        # One of them may be cut off at a stop string.
        if not text.startswith(completion) and not completion.startswith(text):
            raise ValueError(
                "The scorer must have the tokens of the policy that writes; one with "
                "another tokenizer is for `kpg.rewards.Judgement`, which is given "
                f"texts. Received: {type(self).__name__} that reads {text!r} where "
                f"{completion!r} was written"
            )

    def _asked(
        self, prompt_ids: Sequence[Array], completion_ids: Sequence[Array]
    ) -> list[Array]:
        """Returns what the scorer says, checked."""
        found = self.scorer.score(prompt_ids, completion_ids)
        rows = [np.asarray(row, np.float64) for row in found]
        shapes, wanted = [row.shape for row in rows], [i.shape for i in completion_ids]
        scorer = f"The scorer of `{type(self).__name__}`"
        if shapes != wanted:
            raise ValueError(
                f"{scorer} must return one log-probability for each "
                f"token of the completions: {wanted}. Received: {shapes}"
            )
        highest = max(float(row.max(initial=0.0)) for row in rows)
        # Rounding leaves tokens of probability 1 a little above 0.
        if highest > 1e-3:
            raise ValueError(
                f"{scorer} must return log-probabilities, never above "
                f"0; are these logits? Received: {highest:.3g}"
            )
        return rows

    @override
    def get_config(self) -> Config:
        """Returns the arguments without the scorer."""
        return {k: v for k, v in super().get_config().items() if k != "scorer"}


class Fluency(Likelihood):
    """The mean log-probability of a completion's tokens, in (−∞, 0].

    Σₜ log p(xₜ | prompt, x₁ … xₜ₋₁) / N in nats: minus the logarithm of the perplexity.

    Reference: Jelinek et al., "Perplexity: a measure of the difficulty of speech
    recognition tasks" (1977), https://doi.org/10.1121/1.2016299.

    Note: models find their own repetitions very likely (Holtzman et al., "The curious
    case of neural text degeneration", 2020, https://arxiv.org/abs/1904.09751). Combine
    it with `Repetition`.

    Args:
        scorer: A model that does not learn, such as the reference policy; it is not
            part of the configuration.
    """

    def __init__(self, scorer: Scorer, name: str = "fluency") -> None:
        super().__init__(scorer, name)

    @override
    def score(self, log_probs: Array) -> float:
        return float(np.mean(log_probs))


class ExecutorLogLikelihood(Likelihood):
    """The log-probability that an executor gives to each token, in (−∞, 0].

    rₜ = log p(xₜ | prompt, x₁ … xₜ₋₁) in nats, the reward at each step of a policy
    network that chooses what an execution network writes.

    Args:
        scorer: The executor; it is not part of the configuration.
        per_token: Whether each token has its own reward, or the completion their sum.
            Defaults to True.
    """

    def __init__(
        self,
        scorer: Scorer,
        per_token: bool = True,
        name: str = "executor_log_likelihood",
    ) -> None:
        super().__init__(scorer, name)
        self.per_token = per_token

    @override
    def score(self, log_probs: Array) -> Score:
        return log_probs if self.per_token else float(log_probs.sum())
