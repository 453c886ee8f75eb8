"""Findings are plain values."""

from __future__ import annotations

from kpg.testing.finding import Finding


def test_a_finding_is_serious_unless_it_says_otherwise() -> None:
    assert not Finding("crash", "It fell over.").note
    assert Finding("same_start", "It starts alike.", note=True).note
    assert Finding("crash", "It fell over.") == ("crash", "It fell over.", False)
