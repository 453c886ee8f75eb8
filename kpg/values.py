"""Options that are values: small frozen objects that carry their own arguments.

`advantage=GAE(0.95)` is a frozen dataclass: what has no effect cannot be written, and
your own class extends it. `get` also reads a name or a configuration, as in Keras.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

import keras
from typing_extensions import Self

from kpg import checks, imports
from kpg.types import Config

_V = TypeVar("_V", bound="Value")


class Value:
    """The base of all options; derived classes are frozen dataclasses.

    To be saved and loaded, a class of your own needs
    `@keras.saving.register_keras_serializable`.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        checked = getattr(cls, "__post_init__", checks.make_plain)

        def made(self: Value) -> None:
            checks.make_plain(self)
            checked(self)

        # `dataclass` calls it by its name, which this base does without.
        cls.__post_init__ = made  # type: ignore[attr-defined]

    def get_config(self) -> Config:
        """Returns the arguments by name."""
        serialize = keras.saving.serialize_keras_object
        return {
            field.name: serialize(getattr(self, field.name))
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Makes the option of what `get_config` returned."""
        revive = keras.saving.deserialize_keras_object
        return cls(**{name: revive(value) for name, value in config.items()})


def get(
    name: str,
    value: object,
    base: type[_V],
    known: Mapping[str, type[_V]],
    arguments: Config | None = None,
) -> _V:
    """Returns an option that was given as a value, a class, a name or a configuration.

    `value` is an object of `base`, a class derived from it, a name in `known`,
    "module:Name" of your own class, or what `keras.saving.serialize_keras_object` made
    of one; all else raises a `ValueError`. A class is made with `arguments`, which a
    finished value does not take. `name` is the option's, for messages.
    """
    kind = kind_of(name, value, base, known)
    if kind is not None:
        accepted = arguments_of(kind)
        for argument, own in (arguments or {}).items():
            if argument not in accepted:
                raise ValueError(
                    f"{kind.__name__} has no argument of that name; it takes "
                    f"{', '.join(accepted) or 'none'}. Received: {argument}={own!r} "
                    f"with {name}={value!r}"
                )
        return kind(**(arguments or {}))
    found = value
    if isinstance(value, Mapping):
        found = keras.saving.deserialize_keras_object(dict(value))
    if not isinstance(found, base):
        raise ValueError(
            f"`{name}` must be one of the names {', '.join(known)}, or a value whose "
            f"class derives from {base.__name__}. Received: {name}={value!r}"
        )
    if arguments:
        raise ValueError(
            f"`{name}` is a finished value with arguments of its own: put these there. "
            f"Received: {name}={value!r} and {arguments}"
        )
    return found


def kind_of(
    name: str, value: object, base: type[_V], known: Mapping[str, type[_V]]
) -> type[_V] | None:
    """Returns the class that was given or named; `None` for any other value.

    Raises a `ValueError` for an unknown name or a class of another kind.
    """
    found: object = value
    if isinstance(value, str):
        if value not in known and ":" not in value:
            raise ValueError(
                f"`{name}` has no such choice. {checks.hint(value, known)} "
                f"Received: {name}={value!r}"
            )
        found = known[value] if value in known else imports.named(value)
    if not isinstance(found, type):
        return None
    if not issubclass(found, base):
        raise ValueError(
            f"`{name}` must be a class that derives from {base.__name__}. Received: "
            f"{name}={value!r}"
        )
    return found


def arguments_of(kind: type) -> list[str]:
    """Returns the names of the arguments of an option's class."""
    return [field.name for field in dataclasses.fields(kind)]
