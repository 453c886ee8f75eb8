"""The pendulum against Gymnasium's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests import classic_control


@pytest.mark.parametrize("check", classic_control.CHECKS)
def test_it_is_that_of_gymnasium(check: Callable[[str], None]) -> None:
    check("Pendulum-v1")


def test_any_state_leads_to_the_same() -> None:
    classic_control.any_state_leads_to_the_same("Pendulum-v1")
