"""The command line in tests: what a run of it gave, and a small training."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from kpg.cli.main import main

SMALL = [
    *("--num-envs", "4", "--total-steps", "1024", "--set", "num_steps=16"),
    *("--set", "minibatch_size=32", "--set", "num_epochs=2"),
    *("--set", "validation_episodes=10", "--set", "hidden_units=[8]"),
    *("--set", "steps_per_epoch=4", "--set", "jit_compile=False"),
]
MEASURE_KEYS = {"episodes", "return_mean", "return_std", "return_ci95", "length_mean"}


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def values(self) -> dict[str, Any]:
        """The JSON object on the last line of standard output."""
        values: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return values


Kpg = Callable[..., Result]


def one_line(result: Result) -> str:
    """The error, which must be a single line."""
    assert "Traceback" not in result.err
    lines = result.err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def succeed(*arguments: object) -> None:
    """Runs `kpg` in this process; it must succeed."""
    assert main([str(argument) for argument in arguments]) == 0


def interrupted(*_: object, **__: object) -> None:
    """Stands in for a function while which somebody presses Ctrl-C."""
    raise KeyboardInterrupt
