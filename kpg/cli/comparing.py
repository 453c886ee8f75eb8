"""Runs beside each other: those of one algorithm and settings are its seeds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kpg import results
from kpg.cli.episode_statistics import written
from kpg.cli.runs import Run
from kpg.results import Scores
from kpg.types import Config

# Points of a curve that was put together from several.
_POINTS = 100


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seeds.

    Attributes:
        label: The algorithm, and what is set otherwise than in the first group.
        metrics: For each run the logs of its epochs, at least one.
        seconds: Of training, for each run; NaN before it has ended.
    """

    label: str
    metrics: Sequence[Sequence[Config]]
    seconds: Sequence[float]

    @property
    def steps(self) -> int:
        """Environment steps of the longest run."""
        return max(int(logs[-1]["env_steps"]) for logs in self.metrics)

    def last(self) -> Scores:
        """Returns the `[seeds]` returns that the runs end with."""
        return np.array([_returns(logs)[-1] for logs in self.metrics])

    def best(self) -> Scores:
        """Returns the `[seeds]` best returns of all epochs."""
        return np.array([_returns(logs).max() for logs in self.metrics])

    def curves(self) -> tuple[Scores, Scores]:
        """Returns `[points]` environment steps and the `[seeds, points]` returns there.

        They are those that all of the runs have come to, linear in between.
        """
        steps = [np.array([log["env_steps"] for log in logs]) for logs in self.metrics]
        least, most = max(own[0] for own in steps), min(own[-1] for own in steps)
        points = np.linspace(least, max(least, most), _POINTS)
        rows = [
            np.interp(points, own, _returns(logs))
            for own, logs in zip(steps, self.metrics, strict=True)
        ]
        return points, np.array(rows)

    def values(self) -> Config:
        """Returns what `kpg compare` says about the group."""
        last, best = self.last(), self.best()
        low, high = results.interval([last])
        return {
            "label": self.label,
            "seeds": len(last),
            "last": float(last.mean()),
            "last_ci95": results.margin(last.tolist()),
            "best": float(best.mean()),
            "best_ci95": results.margin(best.tolist()),
            "interquartile_mean": float(results.interquartile_mean(last)),
            "interval": [low, high],
            "env_steps": self.steps,
            "seconds": float(np.mean(self.seconds)),
        }


def groups(directories: Sequence[str]) -> tuple[str, list[Group]]:
    """Returns the environment of some runs, and the runs in groups.

    Raises a `ValueError` if they are of different environments, or one has no epoch.
    """
    runs: dict[str, list[Run]] = {}
    presets: dict[str, Config] = {}
    env = None
    for directory in dict.fromkeys(directories):
        run = Run(directory)
        settings = run.settings()
        env = env or settings["env"]
        if settings["env"] != env:
            raise ValueError(
                f"Runs of one environment can be compared, and the first is of {env}. "
                f"Received: {directory}, a run of {settings['env']}"
            )
        if not run.metrics():
            raise ValueError(
                "A run with an epoch that has ended is wanted; train it further with "
                f"`kpg train --resume {directory}`. Received: {directory}"
            )
        preset = settings.get("preset", {})
        key = json.dumps(preset, sort_keys=True)
        presets[key] = _flat(preset)
        runs.setdefault(key, []).append(run)
    first = next(iter(presets.values()))
    found = [
        Group(
            _label(presets[key], first),
            [run.metrics() for run in members],
            [run.result().get("train_seconds", math.nan) for run in members],
        )
        for key, members in runs.items()
    ]
    return str(env), found


def table(env: str, found: Sequence[Group]) -> str:
    """Writes groups as a table for a terminal."""
    heads = ["", "seeds", "last", "best", "middle half [95 %]", "steps", "seconds"]
    rows = [[env, *heads[1:]]]
    for values in (group.values() for group in found):
        middle, (low, high) = values["interquartile_mean"], values["interval"]
        rows.append(
            [
                values["label"],
                str(values["seeds"]),
                _with_margin(values["last"], values["last_ci95"]),
                _with_margin(values["best"], values["best_ci95"]),
                f"{written(middle)} [{written(low, middle)}, {written(high, middle)}]",
                f"{values['env_steps']:,}",
                "–" if math.isnan(values["seconds"]) else f"{values['seconds']:.1f}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [own.rjust(w) for own, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def _with_margin(mean: float, margin: float) -> str:
    own = written(mean)
    return own if math.isnan(margin) else f"{own} ± {written(margin, mean)}"


def _returns(metrics: Sequence[Mapping[str, Any]]) -> Scores:
    """Returns the returns of epochs: of validations, or of training without any.

    A NaN, of an epoch without an episode, is what the epoch before had.
    """
    name = "val_return" if "val_return" in metrics[-1] else "return"
    found = np.array([logs.get(name) for logs in metrics], float)
    known = ~np.isnan(found)
    if not known.any():
        return np.full(len(found), np.nan)
    latest = np.maximum.accumulate(np.where(known, np.arange(len(found)), 0))
    latest = np.maximum(latest, np.flatnonzero(known)[0])
    filled: Scores = found[latest]
    return filled


def _flat(preset: Mapping[str, Any]) -> Config:
    """Returns the settings of a preset by name."""
    flat: Config = {}
    for name, value in preset.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat


def _label(preset: Config, first: Config) -> str:
    """Names a group by its algorithm and what the first group has otherwise."""
    names = [*preset, *(name for name in first if name not in preset)]
    changed = {
        name: preset.get(name, "default")
        for name in names
        if name != "algorithm" and preset.get(name) != first.get(name)
    }
    words = [f"{name}={value}" for name, value in changed.items()]
    return " ".join([str(preset.get("algorithm", "?")), *words])
