"""How well the sentences of a completion go together, by an executor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from typing_extensions import override

from kpg import checks
from kpg.language.rewards.grammar_rules import sentences
from kpg.language.rewards.likelihood import Fluency, Scorer
from kpg.language.rewards.reward import Column, Reward, Score
from kpg.types import Array, Config


class Embedder(Scorer, Protocol):
    """A language model that also says where texts lie: `kpg.models.CausalLMPolicy`."""

    def embed(self, texts: Sequence[str]) -> Array:
        """Returns `[N, F]`, a vector for each text, zeros for one without tokens."""
        ...


class Coherence(Reward):
    """Fluency and the similarity of neighbouring sentences, in (−∞, 1].

    (1 − w) · Σₜ log p(xₜ | prompt, x₁ … xₜ₋₁) / N + w · mean of cos(eᵢ, eᵢ₊₁), where e
    are embeddings of the sentences, the first of which is the prompt's last one. A
    completion without a sentence has a similarity of 0.

    Reference: Foltz, Kintsch and Landauer, "The measurement of textual coherence with
    latent semantic analysis" (1998), https://doi.org/10.1080/01638539809545029, for
    the similarity of neighbours.

    Note: repetition is both likely and similar. Combine it with `Repetition`.

    Args:
        scorer: The executor, a model that does not learn and has `score` and `embed`;
            it is not part of the configuration.
        weight: w, in [0, 1]. Defaults to 0.5, the mean of both.
    """

    requires = ("prompt_ids", "completion_ids")

    def __init__(
        self, scorer: Embedder, weight: float = 0.5, name: str = "coherence"
    ) -> None:
        super().__init__(name)
        self._fluency = Fluency(scorer)
        if not callable(getattr(scorer, "embed", None)):
            raise ValueError(
                "`scorer` must have `embed(texts)`, as a `kpg.models.CausalLMPolicy` "
                f"has. Received: {type(scorer).__name__}"
            )
        self.scorer = scorer
        self.weight = checks.fraction("weight", weight)

    @override
    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Column
    ) -> list[Score]:
        known = self._fluency(prompts=prompts, completions=completions, **columns)
        fluency = np.asarray(known, np.float64).tolist()
        rows = [
            [*sentences(prompt)[-1:], *sentences(completion)]
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        # Sentences of all rows are embedded at once.
        flat = [sentence for row in rows for sentence in row] or [""]
        vectors = np.asarray(self.scorer.embed(flat), np.float64)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, lengths, where=lengths > 0.0, out=0.0 * vectors)
        ends = np.cumsum([len(row) for row in rows])
        found: list[Score] = []
        for own, end, row in zip(fluency, ends, rows, strict=True):
            near = vectors[end - len(row) : end]
            similar = np.sum(near[1:] * near[:-1], axis=1)
            mean = float(similar.mean()) if len(similar) else 0.0
            found.append((1.0 - self.weight) * own + self.weight * mean)
        return found

    @override
    def get_config(self) -> Config:
        """Returns the arguments without the scorer."""
        return {"weight": self.weight, "name": self.name}
