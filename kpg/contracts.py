"""Checks of classes that derive from kpg's.

`abc.ABC` does this for plain classes. Keras's models have a metaclass on which
`@abstractmethod` has no effect, and neither reports a misspelt method.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect

# How alike two names must be for one to be taken for a slip of the other.
_ALIKE = 0.75


def hooks_of(base: type) -> list[str]:
    """Returns the public methods and properties that a class itself defines."""
    return [
        name
        for name, member in vars(base).items()
        if not name.startswith("_")
        and (inspect.isroutine(member) or isinstance(member, property))
    ]


def missing(kind: type) -> list[str]:
    """Returns the abstract methods that a class leaves open."""
    names = {name for base in kind.__mro__ for name in vars(base)}
    return sorted(
        name
        for name in names
        if getattr(getattr(kind, name, None), "__isabstractmethod__", False)
    )


def check_complete(kind: type) -> None:
    """Raises a `TypeError` for a class that leaves abstract methods open."""
    names = missing(kind)
    if names:
        raise TypeError(
            f"{kind.__name__} must define {' and '.join(names)}; see the base class "
            f"for what each receives and returns. Received: a class without "
            f"{', '.join(names)}"
        )


def check_names(kind: type, base: type) -> None:
    """Raises a `TypeError` for a method whose name is nearly that of one of `base`.

    Call it in the `__init_subclass__` of `base`.
    """
    known = {name for parent in kind.__mro__[1:] for name in dir(parent)}
    hooks = hooks_of(base)
    for name in hooks_of(kind):
        if name in known:
            continue
        close = difflib.get_close_matches(name, hooks, n=1, cutoff=_ALIKE)
        if close:
            raise TypeError(
                f"{kind.__name__} has a method that nothing calls. Did you mean "
                f"{close[0]}? A helper of your own may begin with an underscore. "
                f"Received: {name}"
            )


def check_settings(kind: type, base: type) -> None:
    """Raises a `TypeError` unless a class is a frozen dataclass derived from `base`.

    A default must not be a list, a dictionary or a set.
    """
    name = getattr(kind, "__name__", repr(kind))
    parameters = vars(kind).get("__dataclass_params__")
    derived = issubclass(kind, base)
    if not derived or parameters is None or not parameters.frozen:
        raise TypeError(
            f"Settings must be a class with `@dataclasses.dataclass(frozen=True)` that "
            f"derives from {base.__name__}. Received: {name}"
        )
    for field in dataclasses.fields(kind):
        if field.default_factory in (list, dict, set):
            raise TypeError(
                f"A setting must not be changed in place; use a tuple or `None`. "
                f"Received: {name}.{field.name} with a "
                f"{field.default_factory.__name__} as its default"
            )
