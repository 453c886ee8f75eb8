"""Calls in what a policy writes, and what is answered."""

from __future__ import annotations

from typing import Any

import pytest

from kpg.environments import Tools


def add(a: int, b: int = 1) -> int:
    return a + b


def divide(a: float, b: float) -> float:
    return a / b


def nothing() -> None:
    return None


def tools(**options: Any) -> Tools:
    plain = {"opening": "[", "closing": "]", "answer": "={}", "error": "!{}"}
    return Tools([add, divide, nothing], **{**plain, **options})


@pytest.mark.parametrize(
    ("turn", "answer"),
    [
        ("1 + 2 is three", None),
        ("[add(1, 2)]", "=3"),
        ("so [ add(a=1, b=-2) ] and [add(5)]", "=-1"),
        ("[add(5)", "=6"),
        ('[{"name": "add", "arguments": {"a": 2, "b": 3}}]', "=5"),
        ('[{"name": "add", "arguments": {"c": 2}}]', "!add() got an unexpected"),
        ('[{"name": 1}]', "!no tool '1'"),
        ("[add(1, 2]", "!'(' was never closed"),
        ("[add(1, open('x'))]", "!malformed node"),
        ("[divide(1, 0)]", "!division by zero"),
        ("[multiply(1, 2)]", "!no tool 'multiply'"),
        ("[1 + 2]", "!a call is written name(argument, …)"),
        ("[add.x(1)]", "!a call is written"),
    ],
)
def test_the_first_call_is_answered(turn: str, answer: str | None) -> None:
    found = tools().answer(turn)
    # Python's own messages go on differently in each version.
    assert (
        found == answer or str(found).startswith(str(answer)) and str(found)[0] == "!"
    )


def test_marks_are_those_of_common_chat_models() -> None:
    call = '<tool_call>{"name": "add", "arguments": {"a": 2}}</tool_call>'
    assert Tools([add]).answer(call) == "<tool_response>3</tool_response>"


def test_a_result_that_is_no_text_is_a_mistake_of_the_tool() -> None:
    with pytest.raises(ValueError, match="'nothing' must return text.*Received: None"):
        tools().answer("[nothing()]")


@pytest.mark.parametrize(
    ("functions", "options", "message"),
    [
        ([], {}, r"`tools` must hold one function or more"),
        ([lambda: "a"], {}, "`tools` must be functions with names"),
        ([add, add], {}, "names of their own. Received: tools='add'"),
        ([add], {"opening": ""}, "`opening` must be a string that is not empty"),
        ([add], {"answer": "{} {}"}, "`answer` must be a string with one {}"),
        ([add], {"error": 3}, "`error` must be"),
    ],
)
def test_refuses_to_be_made(functions: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tools(functions, **options)
