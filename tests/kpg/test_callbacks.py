"""The callbacks by their public names."""

from __future__ import annotations

import kpg
from kpg.trainers.language.completions import Completions
from kpg.trainers.running.checkpoints import Checkpoint
from kpg.trainers.running.filming import Film


def test_callbacks_have_a_module_of_their_own() -> None:
    assert kpg.callbacks.Film is Film
    assert kpg.callbacks.Completions is Completions
    assert kpg.callbacks.Checkpoint is Checkpoint is kpg.trainers.Checkpoint
