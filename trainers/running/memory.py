"""What Keras callbacks remember from one epoch to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import keras

from kpg.types import Config

# Keras has no contract for it. These are all attributes that `on_epoch_end` changes.
_REMEMBERED: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: (
        *("best", "best_epoch", "best_weights", "stopped_epoch", "wait"),
    ),
    keras.callbacks.History: ("epoch", "history"),
    keras.callbacks.ModelCheckpoint: (
        *("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
    ),
    keras.callbacks.ReduceLROnPlateau: ("best", "cooldown_counter", "wait"),
}


def remembered(callbacks: Sequence[keras.callbacks.Callback]) -> Config:
    """Returns what callbacks remember: Keras's own, and those with a `get_state`."""
    states = {}
    for name, callback in _named(callbacks):
        if _tells(callback):
            states[name] = callback.get_state()
        elif names := _names(callback):
            known = vars(callback)
            states[name] = {own: known[own] for own in names if own in known}
    return states


def remind(callbacks: Sequence[keras.callbacks.Callback], states: Config) -> None:
    """Gives callbacks what those of the same class, in the same order, remembered."""
    for name, callback in _named(callbacks):
        if name in states and _tells(callback):
            callback.set_state(states[name])
        elif name in states:
            vars(callback).update(states[name])


def ended(callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Whether `EarlyStopping` has ended the training, and would again."""
    early = [own for own in callbacks if isinstance(own, keras.callbacks.EarlyStopping)]
    for own in early:
        if own.wait < own.patience:  # it has more patience now
            own.stopped_epoch = 0
    return any(own.stopped_epoch > 0 for own in early)


def _named(
    callbacks: Sequence[keras.callbacks.Callback],
) -> Iterator[tuple[str, keras.callbacks.Callback]]:
    """Yields callbacks with names that they have in another process, too."""
    count: Counter[str] = Counter()
    for callback in callbacks:
        kind = f"{type(callback).__module__}.{type(callback).__qualname__}"
        count[kind] += 1
        yield f"{kind} {count[kind]}", callback


def _tells(callback: keras.callbacks.Callback) -> bool:
    return hasattr(callback, "get_state") and hasattr(callback, "set_state")


def _names(callback: keras.callbacks.Callback) -> tuple[str, ...]:
    """Returns the attributes of the nearest of Keras's classes that is known."""
    known = (base for base in type(callback).__mro__ if base in _REMEMBERED)
    return _REMEMBERED.get(next(known, object), ())
