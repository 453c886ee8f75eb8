"""The trials of `kpg tune`: each trains several seeds, side by side."""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from kpg.cli.commands.train import Parts, build
from kpg.cli.kind import Seeds, kind_of
from kpg.cli.preset import Preset
from kpg.cli.recording import StopOnSignal
from kpg.trainers.seat import Seat
from kpg.types import Config, Logs

# How often a trial is judged, and how many programs are kept for later ones.
_RUNGS = 10
_PROGRAMS = 4


class Programs(NamedTuple):
    """What trials of one structure share."""

    seat: Seat
    parts: Parts

    def close(self) -> None:
        """Closes the environments."""
        self.parts.env.close()
        self.parts.validation.close()


class Until(keras.callbacks.Callback):
    """Stops a `fit` after an epoch, counted from 1, that is not its last."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_epoch_end`."""
        if epoch + 1 >= self.epoch:
            self.model.stop_training = True


class Trials:
    """Trains with one setting after another, by as few programs as possible.

    Args:
        seeds: Those of each trial.
        numbers: Names of settings that are inputs of the programs, not constants.
        stop: What a signal tells.
    """

    def __init__(
        self, seeds: Sequence[int], numbers: Sequence[str], stop: StopOnSignal
    ) -> None:
        self.seeds = seeds
        self.numbers = numbers
        self.stop = stop
        self._kept: OrderedDict[str, Programs] = OrderedDict()

    def run(self, chosen: Preset, judge: Callable[[int, list[float]], bool]) -> bool:
        """Trains all seeds a part of the way, then the next part.

        After each, `judge` receives the epochs so far and each seed's last return, and
        says whether to go on. A `ValueError` says what does not fit, or was not finite.

        Returns:
            Whether the trial came to its end.

        Raises:
            KeyboardInterrupt: If a signal came.
        """
        members = [build(chosen, Seeds.derived(seed)) for seed in self.seeds]
        for seed, own in zip(self.seeds, members, strict=True):
            first = Seeds.derived(seed).pretraining
            policy = own.trainer.policy
            kind_of(chosen.env).pretrain(policy, chosen, first, [self.stop])
        try:
            seat, parts = self._programs(chosen, members)
        finally:
            for own in members:
                own.env.close()
                own.validation.close()
        epochs, begin = parts.schedule.epochs, 0
        for end in rungs(epochs):
            returns = []
            for seed, own in zip(self.seeds, members, strict=True):
                with seat.lent(own.trainer) as trainer:
                    derived = Seeds.derived(seed)
                    parts.env.seed = derived.environment
                    parts.validation.seed = derived.validation
                    trainer.fit(
                        parts.env,
                        epochs=epochs,
                        initial_epoch=begin,
                        steps_per_epoch=parts.schedule.steps_per_epoch,
                        validation_data=parts.validation,
                        validation_episodes=chosen.validation_episodes,
                        validation_freq=[end],
                        callbacks=[Until(end), self.stop],
                        verbose=0,
                        real_steps=True,
                    )
                    if self.stop.received is not None:
                        raise KeyboardInterrupt
                    returns.append(trainer.history.history["val_return"][-1])
            if not judge(end, returns) and end < epochs:
                return False
            begin = end
        return True

    def close(self) -> None:
        """Closes the environments."""
        for kept in self._kept.values():
            kept.close()
        self._kept.clear()

    def _programs(self, chosen: Preset, members: Sequence[Parts]) -> Programs:
        """Returns programs that fit, made anew if there are none."""
        trainers = [own.trainer for own in members]
        key = json.dumps(self._structure(chosen), sort_keys=True)
        kept = self._kept.get(key)
        if kept is not None and not kept.seat.take(trainers):
            self._kept.pop(key).close()
            kept = None
        if kept is None:
            parts = build(chosen, Seeds.derived(self.seeds[0]))
            kept = Programs(Seat(parts.trainer, trainers, self.numbers), parts)
            self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > _PROGRAMS:
            self._kept.popitem(last=False)[1].close()
        return kept

    def _structure(self, chosen: Preset) -> Config:
        """Returns all settings but those that are inputs of the programs."""
        values = dataclasses.asdict(chosen)
        left = {k: v for k, v in chosen.trainer.items() if k not in self.numbers}
        return {**values, "trainer": left, "learning_rate": None}


def rungs(epochs: int) -> list[int]:
    """Returns the epochs, counted from 1, after which a trial is judged."""
    ends = np.linspace(0, epochs, min(epochs, _RUNGS) + 1)[1:]
    return [round(float(end)) for end in ends]
