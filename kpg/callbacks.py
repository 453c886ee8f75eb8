"""Keras callbacks of kpg's own; all of Keras's work, too."""

from __future__ import annotations

from kpg.trainers.language.completions import Completions as Completions
from kpg.trainers.running.checkpoints import Checkpoint as Checkpoint
from kpg.trainers.running.filming import Film as Film
