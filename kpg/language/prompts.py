"""Prompts as they are given: strings, messages, or rows with further columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kpg.language.rewards.reward import Columns
from kpg.language.rows import rows_of
from kpg.language.tokenizers.chat import Prompt, check_messages, is_chat

# Columns of every completion, whatever the task.
FROM_POLICY = ("prompt_ids", "completion_ids", "ended")


class Prompts(NamedTuple):
    """N prompts and what is known of them.

    `given` are what policies complete, strings or messages; `texts` what rewards see,
    of messages the last content; `columns` have a value for each, messages among them.
    """

    given: list[Prompt]
    texts: list[str]
    columns: dict[str, list[Any]]


def prompts_of(
    rows: Iterable[Any],
    columns: Columns | None = None,
    own_columns: Sequence[str] = (),
) -> Prompts:
    """Reads prompts: strings, lists of messages, or rows `{"prompt": …, column: …}`.

    `own_columns` are names that the task gives beside those of `FROM_POLICY`.

    Raises:
        ValueError: If there is none, one is empty, they are of several kinds, rows have
            other columns than the first, or a column has another length.
    """
    rows = [rows] if isinstance(rows, str) else rows_of("prompts", rows)
    found: dict[str, list[Any]] = {
        name: [values] if isinstance(values, str) else list(values)
        for name, values in (columns or {}).items()
    }
    if isinstance(rows[0], Mapping):
        found = _columns_of(rows) | found
        rows = [row["prompt"] for row in rows]
    chat = is_chat(rows[0])
    for index, prompt in enumerate(rows):
        _check(prompt, index, chat)
    texts = rows
    if chat:
        texts = [messages[-1]["content"] for messages in rows]
        found["messages"] = rows
    _check_columns(found, len(rows), (*FROM_POLICY, *own_columns))
    return Prompts(rows, texts, found)


def _columns_of(rows: Sequence[Any]) -> dict[str, list[Any]]:
    """Returns the columns of rows beside "prompt"."""
    names = set(rows[0]) - {"prompt"}
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping) or set(row) != {"prompt", *names}:
            raise ValueError(
                'Each row must be {"prompt": …} with the same further columns. '
                f"Received: prompts[{index}]={row!r} after columns {sorted(names)}"
            )
    return {name: [row[name] for row in rows] for name in sorted(names)}


def _check(prompt: object, index: int, chat: bool) -> None:
    if chat and is_chat(prompt):
        check_messages(prompt)
    elif chat or not isinstance(prompt, str) or not prompt:
        wanted = "a list of messages, as the first one is" if chat else "a string"
        if isinstance(prompt, list) and all(isinstance(part, str) for part in prompt):
            wanted += ", and a batched data set is to be unbatched,"
        raise ValueError(
            f"Each prompt must be {wanted} that is not empty: a completion follows "
            f"at least one token. Received: prompts[{index}]={prompt!r}"
        )


def _check_columns(
    columns: Mapping[str, Sequence[Any]], count: int, of_task: Sequence[str]
) -> None:
    for name, values in columns.items():
        if len(values) != count:
            raise ValueError(
                f"`{name}` must have a value for each of {count} prompts. Received: "
                f"{len(values)}"
            )
        if name in of_task:
            raise ValueError(
                f"The columns {', '.join(of_task)} come from the policy. "
                f"Received: columns with {name!r}"
            )
