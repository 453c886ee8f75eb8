"""Functions that a policy calls in what it writes."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from kpg import checks

Tool: TypeAlias = Callable[..., object]


class Tools:
    """Functions that a policy can call by name, for `kpg.environments.Conversation`.

    A call stands between `opening` and `closing`, or the end of the turn, as
    `add(2, b=3)` or as `{"name": "add", "arguments": {"a": 2, "b": 3}}`. Its arguments
    are literals of Python or JSON; nothing else is evaluated. Of several calls in a
    turn the first is answered, by the tool's result in place of the braces of `answer`.

    What the policy does wrong is answered by `error`: a call that cannot be read, an
    unknown name, and a tool that raises, with its message. Look at the column `turns`
    in a reward, or at `env.completed`, to see how often.

    Args:
        functions: At least one, each with a name of its own; it returns text, a number
            or a bool.
        opening: What stands before a call, a string that is not empty.
        closing: What stands behind it, the same.
        answer: A string with one `{}`.
        error: The same, for the message.

    Raises:
        ValueError: If an argument is wrong; in training, if a tool returns neither text
            nor a number.
    """

    def __init__(
        self,
        functions: Sequence[Tool],
        opening: str = "<tool_call>",
        closing: str = "</tool_call>",
        answer: str = "<tool_response>{}</tool_response>",
        error: str = "<tool_response>error: {}</tool_response>",
    ) -> None:
        self._functions: dict[str, Tool] = {}
        for function in functions:
            name = getattr(function, "__name__", "")
            if not callable(function) or not name.isidentifier():
                wanted = "must be functions with names; write `def` in place of lambda"
                checks.refuse("tools", wanted, function)
            if name in self._functions:
                checks.refuse("tools", "must have names of their own", name)
            self._functions[name] = function
        if not self._functions:
            checks.refuse("tools", "must hold one function or more", functions)
        for name, mark in (("opening", opening), ("closing", closing)):
            if not isinstance(mark, str) or not mark:
                checks.refuse(name, "must be a string that is not empty", mark)
        for name, text in (("answer", answer), ("error", error)):
            if not isinstance(text, str) or text.count("{}") != 1:
                checks.refuse(name, "must be a string with one {} in it", text)
        self.opening, self.closing = opening, closing
        self._answer, self._error = answer, error

    def answer(self, turn: str) -> str | None:
        """Returns what answers a turn, or `None` if it calls nothing."""
        _, opened, rest = turn.partition(self.opening)
        if not opened:
            return None
        call = rest.partition(self.closing)[0]
        try:
            name, positional, named = _read(call.strip())
            if name not in self._functions:
                raise ValueError(f"no tool {name!r}")
            result = self._functions[name](*positional, **named)
        except Exception as error:  # a policy writes anything, and tools raise anything
            return self._error.replace("{}", str(error) or type(error).__name__)
        if not isinstance(result, (str, int, float)):
            raise ValueError(
                f"The tool {name!r} must return text or a number, for the call "
                f"{call!r}. Received: {result!r}"
            )
        return self._answer.replace("{}", str(result))


def _read(call: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Returns the name of a call, and its arguments; raises if it is none."""
    if call.startswith("{"):
        found = json.loads(call)
        return str(found["name"]), [], dict(found.get("arguments", {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of literals that Python finds odd
        tree = ast.parse(call, mode="eval").body
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise ValueError("a call is written name(argument, …)")
    named = {str(part.arg): ast.literal_eval(part.value) for part in tree.keywords}
    return tree.func.id, [ast.literal_eval(part) for part in tree.args], named
