"""An executor that learns from what it wrote under control."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from typing_extensions import override

from kpg.environments.partner import Partner
from kpg.models.language.control.steering import Steering
from kpg.types import Tensor


class Turn(NamedTuple):
    """What an executor wrote in a step, and what it was told; `[...]` of rows.

    int32 texts `[..., L]` before the token, padded, their lengths and those of their
    prompts, the word classes' states; actions; and the tokens, of a phrase its first.
    """

    texts: Tensor
    lengths: Tensor
    prompts: Tensor
    states: Tensor
    actions: Tensor
    tokens: Tensor


class ExecutorPartner(Partner):
    """The executor of a `ControlledGeneration` as something that can learn.

    What it chose is a token, from its distribution as the control has bent it. Tokens
    that nobody chose (the end after "stop", and phrases) count for nothing.
    """

    def __init__(self, steering: Steering, refresh: Callable[[], None]) -> None:
        control = steering.control
        if not control.executor_chooses or control.deterministic:
            raise ValueError(
                "An executor learns from tokens that it samples; use a control such as "
                "`Biases` or `Instructions`, without `deterministic=True`. Received: "
                f"control={control}"
            )
        self._steering = steering
        self._refresh = refresh
        self.model = steering.executor
        self.turn: Turn | tuple[()] = ()

    @override
    def log_probs(self, turn: Turn) -> Tensor:
        """Each text is read on its own."""
        steering, executor = self._steering, self._steering.executor
        axes = len(turn.tokens.shape)
        rows = Turn(*(tf.reshape(part, [-1, *part.shape[axes:]]) for part in turn))
        last = executor.trunk.behind(rows.texts, rows.lengths, rows.prompts)
        bent = steering.bent(executor.outputs(last), rows.actions, rows.states)
        log_probs = executor.family.log_prob(bent, rows.tokens)
        chosen = steering.forced(rows.actions) < 0
        return tf.reshape(tf.where(chosen, log_probs, 0.0), turn.tokens.shape)

    @override
    def refresh(self) -> None:
        self._refresh()
