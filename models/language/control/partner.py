"""An executor that learns from what it wrote under control."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kpg.models.language.control.controls import Control

Array = np.ndarray[Any, Any]


class Turn(NamedTuple):
    """What an executor wrote in a step, and what it was told; `[..., ]` of rows.

    Attributes:
        texts: `[..., L]` int32, the text before the token, padded.
        lengths: `[...]` int32, tokens of it.
        states: `[...]` int32, of the word classes.
        actions: `[..., ...]`, what it was told.
        tokens: `[...]` int32, what was written; of a phrase, its first token.
    """

    texts: Any
    lengths: Any
    states: Any
    actions: Any
    tokens: Any


class ExecutorPartner:
    """The executor of a `ControlledGeneration` as a `kpg.environments.Partner`.

    What it chose is a token, from its distribution as the control has bent it. Tokens
    that were written without asking it (the end after "stop", and phrases) count for
    nothing.

    Args:
        control: What the executor is told by.
        refresh: Has the executor read all texts again.

    Attributes:
        model: The executor.
        turn: The last step.

    Raises:
        ValueError: If the executor never chooses, or not at random.
    """

    def __init__(self, control: Control, refresh: Callable[[], None]) -> None:
        if not control.asks or control.deterministic:
            raise ValueError(
                "An executor learns from tokens that it samples: by control='bias' or "
                "'instructions', and not with deterministic=True. Received: "
                f"{type(control).__name__}, deterministic={control.deterministic}"
            )
        self._control = control
        self._refresh = refresh
        self.model: Any = control.executor
        self.turn: Any = ()

    def log_probs(self, turn: Turn) -> tf.Tensor:
        """See `kpg.environments.Partner.log_probs`; each text is read on its own."""
        control, executor = self._control, self._control.executor
        axes = len(turn.tokens.shape)
        rows = Turn(*(tf.reshape(part, [-1, *part.shape[axes:]]) for part in turn))
        features = executor.trunk(rows.texts)
        last = tf.gather(features, rows.lengths - 1, batch_dims=1)
        bent = control.bent(executor.outputs(last), rows.actions, rows.states)
        log_probs = executor.family.log_prob(bent, rows.tokens)
        chosen = control.forced(rows.actions) < 0
        return tf.reshape(tf.where(chosen, log_probs, 0.0), turn.tokens.shape)

    def refresh(self) -> None:
        """See `kpg.environments.Partner.refresh`."""
        self._refresh()
