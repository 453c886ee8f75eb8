"""How trainers run on text tasks."""

from __future__ import annotations

import math

from kpg.trainers.language.engine import TextEngine
from kpg.trainers.language.evaluation import TextEvaluator
from kpg.trainers.running.kinds import Kind

# XLA always pays: iterations are few, but hundreds of passes each.
KIND = Kind(TextEngine, TextEvaluator, lambda updates, num_steps: math.inf)
