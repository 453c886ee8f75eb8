"""Who answers in a conversation, and all that may be wrong with the answers."""

from __future__ import annotations

from typing import Any

import pytest

from kpg.environments import Conversation, Tools
from kpg.language.rewards.checking import Completed


def length(prompts: Any, completions: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def echo(prompts: Any, completions: Any, turns: Any) -> list[str | None]:
    return [said[-1] if "?" in said[-1] else None for said in turns]


def add(a: int, b: int) -> int:
    return a + b


def conversation(reply: Any = echo, **options: Any) -> Conversation:
    given: dict[str, Any] = {"rewards": [length], "num_envs": 2, **options}
    return Conversation(["one", "two"], reply, **given)


def so_far(*said: str, **columns: Any) -> Completed:
    turns = [[text] for text in said]
    return Completed(["one"] * len(said), list(said), {"turns": turns, **columns})


def test_there_is_room_for_all_that_is_said() -> None:
    env = conversation(max_turns=3, max_turn_tokens=5, max_reply_tokens=2)
    assert env.max_new_tokens == env.episode_steps == 3 * 5 + 2 * 2


def test_a_reply_is_given_the_columns_that_it_asks_for() -> None:
    assert conversation().answers(so_far("a?", "b")) == ["a?", None]

    def look_up(prompts: Any, completions: Any, secrets: Any) -> Any:
        return secrets

    env = conversation(look_up, columns={"secrets": ["x", "y"]})
    assert env.answers(so_far("a", "b", secrets=["x", "y"])) == ["x", "y"]


def test_tools_answer_first() -> None:
    tools = Tools([add], "[", "]", "{}", "{}")
    asked: list[str] = []

    def reply(prompts: Any, completions: Any) -> list[str]:
        asked.extend(completions)
        return ["well"] * len(completions)

    env = conversation(reply, tools=tools)
    turns = so_far("[add(1, 2)]", "so?", "[add(1, 1)]")
    assert env.answers(turns) == ["3", "well", "2"] and asked == ["so?"]
    alone = conversation(None, tools=[add])
    call = "<tool_call>add(1, 2)</tool_call>"
    assert alone.answers(so_far(call, "no call")) == [
        "<tool_response>3</tool_response>",
        None,
    ]


def failing(prompts: Any, completions: Any) -> Any:
    raise KeyError("lost")


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (failing, "reply 'failing' must not raise; return None to end it.*'lost'"),
        (lambda prompts, completions: [3], "must return strings.*'one'. Received: 3"),
        (lambda prompts, completions: "ab", "list with a string or None for each of 1"),
        (lambda prompts, completions: [], r"for each of 1 conversations. Received: \["),
        (lambda prompts, completions: None, "Received: None"),
    ],
)
def test_refuses_what_is_no_answer(reply: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conversation(reply).answers(so_far("a"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reply": None}, "needs someone who answers.*Received: reply=None"),
        ({"reply": "hello"}, "needs someone who answers.*Received: reply='hello'"),
        ({"max_turns": 0}, "max_turns=0"),
        ({"max_turn_tokens": 0}, "max_turn_tokens=0"),
        ({"max_reply_tokens": 0}, "max_reply_tokens=0"),
        ({"columns": {"turns": [1, 2]}}, "turns come from the policy"),
        (
            {"reply": lambda prompts, secrets: secrets},
            "needs secrets, with one entry for each prompt",
        ),
    ],
)
def test_refuses_to_be_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conversation(**options)
