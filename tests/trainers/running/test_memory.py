"""Callbacks are reminded of what others of their kind knew."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kpg.trainers.running.memory import ended, remembered, remind


class Own(keras.callbacks.Callback):
    """Remembers a number."""

    number = 0

    def get_state(self) -> Any:
        return self.number

    def set_state(self, state: Any) -> None:
        self.number = state


class Silent(keras.callbacks.Callback):
    """Remembers something that it does not tell."""

    number = 0


class Early(keras.callbacks.EarlyStopping):
    """One of the user's own, which is known by its base."""


def test_callbacks_are_told_apart_by_class_and_order() -> None:
    first = [Own(), Early(), Own(), Silent(), keras.callbacks.EarlyStopping()]
    first[0].number, first[2].number, first[3].number = 1, 2, 3
    first[1].best, first[1].best_weights = 0.5, [np.ones(2)]
    first[4].best = 0.25
    # There may be others between them.
    again = [Silent(), keras.callbacks.EarlyStopping(), Own(), Early(), Own(), Own()]
    remind(again, remembered(first))
    assert [own.number for own in (again[2], again[4], again[5])] == [1, 2, 0]
    assert (again[1].best, again[3].best, again[0].number) == (0.25, 0.5, 0)
    assert again[3].best_weights[0].tolist() == [1.0, 1.0]


def test_all_that_an_epoch_changes_is_remembered() -> None:
    """Keras may add attributes to its callbacks: this fails then."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    rows = np.ones((2, 1)), np.ones((2, 1))
    callbacks: list[Any] = [
        keras.callbacks.EarlyStopping("loss", restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("loss", patience=1, cooldown=2),
        keras.callbacks.History(),
    ]
    listed = keras.callbacks.CallbackList(callbacks, model=model)
    listed.on_train_begin()
    before = [dict(vars(own)) for own in callbacks]
    for epoch in range(3):
        listed.on_epoch_begin(epoch)
        listed.on_epoch_end(epoch, dict(model.evaluate(*rows, 2, 0, return_dict=True)))
    for own, old in zip(callbacks, before, strict=True):
        (known,) = remembered([own]).values()
        changed = {name for name in vars(own) if vars(own)[name] is not old.get(name)}
        # These follow from the arguments, in the first epoch of each process.
        assert changed - {"monitor_op", "min_delta"} <= set(known)


def test_early_stopping_ends_a_training_until_it_has_more_patience() -> None:
    early = keras.callbacks.EarlyStopping("loss", patience=2)
    assert not ended([early])
    early.stopped_epoch, early.wait = 4, 2
    assert ended([early, Silent()])
    early.patience = 3
    assert not ended([early]) and early.stopped_epoch == 0
