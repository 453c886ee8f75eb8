"""TensorFlow finds what is in lists; Keras's own models lose it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.models.tracked_model import TrackedModel


@pytest.mark.parametrize("base", [TrackedModel, keras.Model])
def test_lists_of_layers_are_restored(base: Any, tmp_path: Path) -> None:
    class Listed(base):
        def __init__(self, value: float) -> None:
            super().__init__()
            start = keras.initializers.Constant(value)
            self.inside = [keras.layers.Dense(2, kernel_initializer=start)]
            self.inside[0].build((None, 1))

    path = tf.train.Checkpoint(model=Listed(3.0)).save(str(tmp_path / "file"))
    other = Listed(4.0)
    tf.train.Checkpoint(model=other).restore(path).assert_consumed()
    kept = 3.0 if base is TrackedModel else 4.0
    np.testing.assert_array_equal(other.inside[0].kernel, [[kept, kept]])
