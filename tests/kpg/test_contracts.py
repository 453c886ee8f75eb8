"""A class that breaks the promise of its base is refused before it is used."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any

import pytest

from kpg import contracts
from kpg.environments import FunctionalEnv


class Base:
    """Promises a method, and offers a hook."""

    @abstractmethod
    def estimate(self, rows: Any) -> Any:
        """Must be defined."""

    def after(self, iteration: Any) -> None:
        """May be defined."""

    @property
    def needs(self) -> int:
        """May be defined, too."""
        return 0


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings that all others derive from."""

    num_steps: int = 1


def test_abstract_methods_must_be_defined_whatever_the_metaclass() -> None:
    class Open(Base):
        """Leaves it out."""

    class Complete(Base):
        """Defines it."""

        def estimate(self, rows: Any) -> Any:
            return rows

    assert contracts.missing(Open) == ["estimate"]
    with pytest.raises(TypeError, match="Open must define estimate.*Received"):
        contracts.check_complete(Open)
    contracts.check_complete(Complete)


@pytest.mark.parametrize("name", ["estimat", "estimates", "need", "aftr", "estimation"])
def test_a_slip_of_a_name_is_refused(name: str) -> None:
    slip: Any = type("Slip", (Base,), {name: lambda self: None})
    with pytest.raises(TypeError, match=f"Did you mean.*Received: {name}$"):
        contracts.check_names(slip, Base)


@pytest.mark.parametrize("name", ["estimate", "_estimates", "helper", "after"])
def test_other_names_are_free(name: str) -> None:
    fine: Any = type("Fine", (Base,), {name: lambda self: None})
    contracts.check_names(fine, Base)
    assert contracts.hooks_of(Base) == ["estimate", "after", "needs"]


def test_settings_are_frozen_and_derive_from_those_of_the_base() -> None:
    @dataclasses.dataclass(frozen=True)
    class Own(Settings):
        """Right."""

        sizes: tuple[int, ...] = ()

    @dataclasses.dataclass(frozen=True)
    class Other:
        """Not derived."""

    class Plain(Settings):
        """No dataclass of its own."""

    @dataclasses.dataclass(frozen=True)
    class Shared(Settings):
        """A default that can be changed in place."""

        sizes: list[int] = dataclasses.field(default_factory=list)

    contracts.check_settings(Own, Settings)
    for kind in (Other, Plain):
        with pytest.raises(TypeError, match=f"frozen=True.*Received: {kind.__name__}"):
            contracts.check_settings(kind, Settings)
    with pytest.raises(TypeError, match="Received: Shared.sizes with a list"):
        contracts.check_settings(Shared, Settings)


def test_terminated_is_taken_for_terminal() -> None:
    with pytest.raises(TypeError, match=r"Did you mean terminal\?.*terminated"):

        class Slip(FunctionalEnv):
            def terminated(self, state: Any) -> Any:
                return state
