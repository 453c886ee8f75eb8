"""The models that the servers serve: two multilayer perceptrons of random weights.

python benchmarks/serving/models.py DIRECTORY
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

OBSERVATION, ACTIONS = 8, 4
# The second one has 8.4 million parameters.
WIDTHS = {"small": (64, 64), "large": (2048, 2048, 2048)}


class Perceptron(tf.Module):
    """From observations to logits, the greedy action, and a value."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = [OBSERVATION, *widths, ACTIONS + 1]
        rng = tf.random.Generator.from_seed(0)
        self.kernels = [
            tf.Variable(rng.normal([rows, columns]) / rows**0.5)
            for rows, columns in zip(sizes, sizes[1:], strict=False)
        ]
        self.biases = [tf.Variable(tf.zeros([size])) for size in sizes[1:]]

    @tf.function(input_signature=[tf.TensorSpec([None, OBSERVATION], name="obs")])
    def act(self, obs: Any) -> dict[str, Any]:
        hidden = obs
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            hidden = tf.tanh(tf.matmul(hidden, kernel) + bias)
        outputs = tf.matmul(hidden, self.kernels[-1]) + self.biases[-1]
        logits = outputs[:, :ACTIONS]
        action = tf.argmax(logits, axis=1)
        return {"logits": logits, "value": outputs[:, ACTIONS], "action": action}


def main() -> None:
    """Writes version 1 of each."""
    for name, widths in WIDTHS.items():
        model = Perceptron(widths)
        path = str(Path(sys.argv[1]) / name / "1")
        tf.saved_model.save(model, path, signatures={"serving_default": model.act})


if __name__ == "__main__":
    main()
