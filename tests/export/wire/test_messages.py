"""Messages made of declarations."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from kpg.export.wire import messages


def test_messages_of_messages() -> None:
    made = messages.classes(
        "kpg.tests",
        {
            "Inner": "int64 size = 1",
            "Outer": "repeated Inner all = 1, map Inner by_name = 2, bool yes = 3",
        },
    )
    text = 'all { size: 3 } by_name { key: "a" value { size: 4 } } yes: true'
    outer = text_format.Parse(text, made["Outer"]())
    assert (outer.all[0].size, outer.by_name["a"].size, outer.yes) == (3, 4, True)
    assert made["Outer"].FromString(outer.SerializeToString()) == outer
    assert made["Outer"].DESCRIPTOR.full_name == "kpg.tests.Outer"


def test_a_misspelt_declaration() -> None:
    with pytest.raises(ValueError, match="must look like.*Received: 'int64 size'"):
        messages.classes("kpg.wrong", {"Inner": "int64 size"})
