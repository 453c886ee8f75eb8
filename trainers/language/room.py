"""Whether an update on texts fits into the memory that is free, before it starts."""

from __future__ import annotations

import math
from typing import NamedTuple

import keras

from kpg.models.language.chunks import MOST
from kpg.models.language.language_policy import LanguagePolicy
from kpg.models.language.rematerialisation import blocks
from kpg.trainers.learning.free_memory import gigabytes
from kpg.trainers.learning.training import Training

_FLOAT = 4


class Update(NamedTuple):
    """What decides how much memory an update takes.

    Attributes:
        weights: Trainable numbers, all of which have gradients.
        blocks: Layers that the model repeats.
        width: Features of a token.
        inner: Features inside a block's feed-forward part.
        heads: Heads of an attention.
        vocabulary_size: Tokens that the model knows.
        texts: B texts of an update.
        at_a_time: How many of them are learned from at a time.
        length: Tokens of prompt and completion.
        new_tokens: Tokens of a completion.
        remat: Whether blocks are computed again.
    """

    weights: int
    blocks: int
    width: int
    inner: int
    heads: int
    vocabulary_size: int
    texts: int
    at_a_time: int
    length: int
    new_tokens: int
    remat: bool

    @property
    def bytes(self) -> int:
        """An estimate of what an update adds to the models and optimizers.

        The first term is the gradients, twice where they are added up; the second what
        the blocks keep for the backward pass, about 10 features, 4 inner ones and 2
        rows of attention for a token; the third a few tables of logits.

        Reference: the second is counted as in Korthikanti et al., "Reducing activation
        recomputation in large transformer models" (2022), section 4.1,
        https://arxiv.org/abs/2205.05198, but without dropout.
        """
        tokens = self.at_a_time * self.length
        block = 10 * self.width + 4 * self.inner + 2 * self.heads * self.length
        kept = block + self.blocks * self.width if self.remat else block * self.blocks
        logits = min(self.at_a_time * self.new_tokens * self.vocabulary_size, MOST)
        gradients = self.weights * (1 if self.at_a_time == self.texts else 2)
        return _FLOAT * (gradients + tokens * kept + 4 * logits)


def update_of(training: Training, prompt_tokens: int) -> Update | None:
    """Returns the sizes of a training's update; `None` if the model does not tell."""
    policy, settings = training.policy, training.settings
    backbone = policy.trunk.lm.backbone if isinstance(policy, LanguagePolicy) else None
    names = (("intermediate_dim",), ("num_heads", "num_query_heads"))
    known = [
        next((int(getattr(backbone, n)) for n in own if hasattr(backbone, n)), None)
        for own in names
    ]
    if backbone is None or None in known:
        return None
    rows = training.minibatch_size(training.algorithm.updates.minibatch_size)
    texts = rows // settings.num_steps // training.replicas
    return Update(
        weights=_count(training.variables),
        blocks=len(blocks(backbone)),
        width=policy.trunk.width,
        inner=known[0] or 0,
        heads=known[1] or 0,
        vocabulary_size=policy.trunk.vocabulary_size,
        texts=texts,
        at_a_time=settings.micro_batch_size or texts,
        length=prompt_tokens + settings.num_steps,
        new_tokens=settings.num_steps,
        remat=policy.remat,
    )


def check_room(update: Update, free: int | None) -> None:
    """Refuses an update that needs more than is free, in bytes; `None` is unknown.

    Raises:
        ValueError: It says what to set.
    """
    if free is None or update.bytes <= free:
        return
    now = update.at_a_time if update.at_a_time < update.texts else None
    raise ValueError(
        f"An update needs about {gigabytes(update.bytes)} of memory, and "
        f"{gigabytes(free)} are free: {_advice(update, free)}. Received: "
        f"micro_batch_size={now}, {update.texts} texts of {update.length} tokens"
    )


def _advice(update: Update, free: int) -> str:
    """Returns the largest micro-batch that fits, or what else there is to change."""
    sizes = [n for n in range(update.at_a_time, 0, -1) if update.texts % n == 0]
    for remat in sorted({update.remat, True}):
        for size in sizes:
            other = update._replace(at_a_time=size, remat=remat)
            if other.bytes <= free:
                more = "" if remat == update.remat else " and the policy's `remat=True`"
                return f"set micro_batch_size={size}{more}"
    return (
        "take a smaller model, shorter texts, or adapters "
        "(`causal_lm.backbone.enable_lora(4)`)"
    )


def _count(variables: list[keras.Variable]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)
