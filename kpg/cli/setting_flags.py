"""The flags of `kpg train` for the settings, one each; TensorFlow is not imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from kpg.cli import declared, preset
from kpg.cli.declared import Setting
from kpg.types import Config

_OWNERS = {
    "Preset": "the training",
    "Policy": "policy and critic",
    "texts": "a text policy",
    "Task": "a text task",
}
_DEFAULTS = (
    "What is left out is as in the preset of ENV, see `kpg list`, or as said here."
)
_METAVARS = {
    "int": "N",
    "float": "X",
    "str": "TEXT",
    "bool": "true|false",
    "None": "none",
}
_WIDTHS = ("Sequence[int]",)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for every setting, with what its docstring says."""
    groups: dict[tuple[str, ...], argparse._ArgumentGroup] = {}
    for setting in declared.settings().values():
        if setting.owners not in groups:
            owners = ", ".join(_OWNERS.get(own, own) for own in setting.owners)
            about = None if groups else _DEFAULTS
            title = f"settings of {owners}"
            groups[setting.owners] = parser.add_argument_group(title, about)
        _add(groups[setting.owners], setting)


def settings_of(options: argparse.Namespace) -> Config:
    """Returns the settings that were typed as flags of their own, by name."""
    known = declared.settings()
    return {name: value for name, value in vars(options).items() if name in known}


def _add(group: argparse._ArgumentGroup, setting: Setting) -> None:
    how: Config = {"action": argparse.BooleanOptionalAction}
    if setting.kinds != ("bool",):
        names = dict.fromkeys(_METAVARS.get(kind, "VALUE") for kind in setting.kinds)
        metavar = "N,N" if setting.kinds == _WIDTHS else "|".join(names)
        how = {"type": _reader(setting), "metavar": metavar}
    group.add_argument(
        f"--{setting.name.replace('_', '-')}",
        default=argparse.SUPPRESS,
        help=setting.text.replace("`", "").replace("%", "%%"),
        **how,
    )


def _reader(setting: Setting) -> Callable[[str], object]:
    """Returns what reads a setting's value."""

    def read(text: str) -> object:
        value = preset.value_of(text)
        if text.lower() == "none" and "None" in setting.kinds:
            value = None
        elif "int" in setting.kinds and isinstance(value, float) and value.is_integer():
            value = int(value)  # 1.0, as 1e0
        elif setting.kinds == _WIDTHS and not isinstance(value, list):
            value = preset.value_of(f"[{text}]")
        try:
            declared.check_type(setting, value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"must be {declared.wanted(setting)}. Received: {text!r}"
            ) from error
        return value

    return read
