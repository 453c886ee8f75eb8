"""Imported first: refuses a Keras that does not run on TensorFlow."""

from __future__ import annotations

import os
import sys

_keras = sys.modules.get("keras")
if _keras is None:
    _chosen = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
else:
    _chosen = _keras.config.backend()
if _chosen != "tensorflow":
    raise ImportError(
        "kpg needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow, or unset it, "
        f"before Keras is imported. Received: KERAS_BACKEND={_chosen!r}"
    )
