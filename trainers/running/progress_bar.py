"""Keras's progress bar, on one line while an epoch runs."""

from __future__ import annotations

import keras

from kpg.types import Logs

_SHOWN = ("return", "loss")


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Shows the return and the loss of an epoch that runs, and all logs at its end.

    Keras's own shows all the time, and a line that is wider than the terminal cannot be
    written over: every batch would add four.
    """

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_train_batch_end`."""
        known = logs or {}
        shown = {name: known[name] for name in _SHOWN if name in known}
        super().on_train_batch_end(batch, shown)
