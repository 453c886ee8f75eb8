"""Films during a training."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import keras
from gymnasium.wrappers import TimeLimit

from kpg import checks, films, limits
from kpg.episodes import play
from kpg.models.player import Player


class Film(keras.callbacks.Callback):
    """Films the policy in between epochs, as it acts greedily.

    It needs no window, and disturbs neither environment nor random numbers of the
    training. Of several workers the chief films.

    Args:
        env: Gymnasium id of the environment, or a function that returns one with
            `render_mode="rgb_array"`.
        path: A .gif or, with `pip install "kpg[film]"`, an .mp4. `{epoch}` in it is the
            number of the epoch, counted from 1 as in `ModelCheckpoint`.
        every: Epochs between films, ≥ 1. Defaults to 10.
        episodes: Episodes of a film, ≥ 1. Defaults to 1.
        max_steps: Steps after which an episode is cut. Defaults to its time limit, or
            else 10,000.
        width: Pixels from left to right. Defaults to 400.
        seed: Seed of the first episode, the same in every film. Defaults to 0.

    Raises:
        ValueError: If an argument is out of range, nothing can write such a file, or
            the environment does not render frames.
    """

    def __init__(
        self,
        env: str | Callable[[], gymnasium.Env[Any, Any]],
        path: str | os.PathLike[str],
        every: int = 10,
        episodes: int = 1,
        max_steps: int | None = None,
        width: int = 400,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.path = os.fspath(path)
        films.check_name(Path(self.path))
        self.every = checks.whole_number("every", every)
        self.episodes = checks.whole_number("episodes", episodes)
        bound = limits.LONGEST_EPISODE if max_steps is None else max_steps
        self.max_steps = checks.whole_number("max_steps", bound)
        self.width = checks.whole_number("width", width)
        self.seed = checks.whole_number("seed", seed, 0)
        self._source = env
        self._env().close()

    def _make(self) -> gymnasium.Env[Any, Any]:
        if isinstance(self._source, str):
            return gymnasium.make(self._source, render_mode="rgb_array")
        return self._source()

    def _env(self) -> films.Filmed:
        return films.Filmed(TimeLimit(self._make(), self.max_steps), self.width)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Films, if the epoch is one of those."""
        if (epoch + 1) % self.every or not self.model.is_chief:
            return
        player = Player(self.model.policy)
        with contextlib.closing(self._env()) as env:
            for episode in range(self.episodes):
                play(env, player, self.seed if episode == 0 else None)
            path = Path(self.path.format(epoch=epoch + 1))
            films.write(path, env.frames, env.metadata.get("render_fps"))
