"""What every client is told when it is made."""

from __future__ import annotations

import pytest

from kpg.export import AsyncClient, Client


def test_both_are_told_the_same() -> None:
    with Client("host:1", model_name="m") as client:
        other = AsyncClient("host:1", model_name="m")
        assert (client.target, client.model_name) == ("host:1", "m")
        assert (other.target, other.model_name) == ("host:1", "m")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_settings_are_checked_at_once(kind: type[Client]) -> None:
    with pytest.raises(ValueError, match="timeout=0"):
        kind(timeout=0)
