"""What `kpg tune` searches, what stays, and where it keeps what it finds."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path

from kpg.cli import preset, space
from kpg.cli.kind import kind_of
from kpg.cli.preset import Preset
from kpg.cli.space import Range
from kpg.types import Config


class Tuning:
    """A search: what stays, what is tried, and where it is kept."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.given = _given(options)
        kind = kind_of(options.env)
        self.base = kind.chosen_preset(options.env, self.given)
        self.space = space.read(self.base.algorithm, kind.spaces, options.space)
        self.preset_of(space.first(self.space))
        name = re.sub(r"[^\w.-]+", "-", f"{self.base.env}-{self.base.algorithm}")
        self.directory = Path(options.output or Path("tuning") / name)
        self.storage = options.storage or str(self.directory / "study.db")
        self.seeds = range(options.seed, options.seed + options.seeds)

    def preset_of(self, settings: Config) -> Preset:
        """Returns the preset of a trial; a `ValueError` if a name is not known."""
        env, together = self.options.env, {**self.given, **settings}
        return kind_of(env).chosen_preset(env, together)

    def identity(self) -> Config:
        """Returns what all processes of a study must agree on."""
        return {
            "env": self.base.env,
            "algorithm": self.base.algorithm,
            "seeds": list(self.seeds),
            "settings": dataclasses.asdict(self.base),
            "space": {k: dataclasses.asdict(own) for k, own in self.space.items()},
        }

    def numbers(self) -> list[str]:
        """Returns what is searched of which a program can take any value."""
        ranges = {k: own for k, own in self.space.items() if isinstance(own, Range)}
        return [k for k, own in ranges.items() if not isinstance(own.high, int)]

    def started_with(self) -> Config:
        """Returns the settings that the search begins with, as far as it tries them."""
        own = {**self.base.trainer, "learning_rate": self.base.learning_rate}
        return space.told(self.space, own)


def _given(options: argparse.Namespace) -> Config:
    """Returns the settings on the command line, by name."""
    settings: Config = {}
    if options.config is not None:
        settings = preset.read_settings(options.config)
        env = settings.pop("env", options.env)
        if env != options.env:
            raise ValueError(
                f"The configuration is of {env}; give the same environment, or take it "
                f"out of the file. Received: {options.env}"
            )
    settings |= dict(map(preset.parse_assignment, options.assignments))
    if options.algorithm is not None:
        settings["algorithm"] = options.algorithm
    return settings
