"""The flags of `kpg serve`: those of TensorFlow Serving, by its names.

TensorFlow is not imported.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable

from kpg.export.serving.settings import Settings
from kpg.types import Config
from kpg.version import __version__

ENGINE = "tensorflow_model_server"


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for every setting of a server, and which server it is for."""
    text = "print the version"
    version = f"kpg {__version__}"
    parser.add_argument("--version", action="version", version=version, help=text)
    text = "what serves: kpg, or the tensorflow_model_server on the PATH"
    parser.add_argument("--engine", choices=("kpg", ENGINE), default="kpg", help=text)
    for field in dataclasses.fields(Settings):
        kind = type(field.default)
        default = str(field.default).lower() if kind is bool else field.default
        text = field.metadata["help"]
        if default != "":
            text += f"; default: {default}"
        # `--flag` alone is `--flag=true`, as in TensorFlow Serving.
        bare: Config = {"nargs": "?", "const": True} if kind is bool else {}
        parser.add_argument(
            f"--{field.name}",
            type=_truth if kind is bool else _typed(kind),
            default=field.default,
            metavar={bool: "true|false", str: "TEXT"}.get(kind, "N"),
            help=text,
            **bare,
        )


def settings_of(options: argparse.Namespace) -> Config:
    """Returns the settings that were typed, those that are not the defaults."""
    return {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(Settings)
        if getattr(options, field.name) != field.default
    }


def typed_flags(options: argparse.Namespace) -> list[str]:
    """Returns the flags that were typed, as TensorFlow Serving reads them."""
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in settings_of(options).items()
    ]


def _truth(text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(
            f"must be true or false, as in --flag=true. Received: {text!r}"
        )
    return values[text.lower()]


def _typed(kind: type) -> Callable[[str], object]:
    def read(text: str) -> object:
        try:
            return kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"must be a number. Received: {text!r}"
            ) from error

    return read
