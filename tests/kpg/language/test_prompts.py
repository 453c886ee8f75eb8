"""Prompts in every form that they may have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.language.prompts import prompts_of

CHAT = [[{"role": "user", "content": "one"}], [{"role": "user", "content": "two"}]]


def test_strings_and_messages() -> None:
    assert prompts_of("one").given == ["one"]
    found = prompts_of(np.array(["one", "two"]), {"topic": (1, 2)})
    assert found.given == found.texts == ["one", "two"]
    assert found.columns == {"topic": [1, 2]}
    found = prompts_of(CHAT)
    assert found.given == CHAT and found.texts == ["one", "two"]
    assert found.columns == {"messages": CHAT}


def test_rows_bring_their_columns() -> None:
    rows = [{"prompt": "one", "topic": 1}, {"topic": 2, "prompt": "two"}]
    found = prompts_of(rows, {"references": ["a", "b"]})
    assert found.texts == ["one", "two"]
    assert found.columns == {"topic": [1, 2], "references": ["a", "b"]}
    chat = [{"prompt": messages, "topic": 1} for messages in CHAT]
    assert prompts_of(chat).columns == {"topic": [1, 1], "messages": CHAT}


def test_rows_of_a_data_set_become_pythons_own() -> None:
    columns = {"prompt": ["é", "b"], "words": [["x", "y"], ["z", "ö"]], "n": [1, 2]}
    found = prompts_of(tf.data.Dataset.from_tensor_slices(columns))
    assert found.texts == ["é", "b"] and found.columns["n"] == [1, 2]
    assert found.columns["words"] == [["x", "y"], ["z", "ö"]]
    assert prompts_of(tf.constant(["one"])).texts == ["one"]


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([], {}, r"at least one. Received: prompts=\[\]"),
        (["a", ""], {}, r"a string that is not empty.*prompts\[1\]=''"),
        ([3], {}, r"prompts\[0\]=3"),
        ([["a", "b"]], {}, r"batched data set is to be unbatched.*prompts\[0\]="),
        ([CHAT[0], "a"], {}, r"a list of messages, as the first.*prompts\[1\]='a'"),
        (["a", CHAT[0]], {}, r"must be a string.*prompts\[1\]="),
        ([[{"role": "user"}]], {}, "of strings. Received: {'role': 'user'}"),
        ([{"text": "a"}], {}, r"prompts\[0\]={'text': 'a'} after columns"),
        (
            [{"prompt": "a"}, {"prompt": "a", "b": 1}],
            {},
            r"prompts\[1\]=.*columns \[\]",
        ),
        (["a", "b"], {"topic": [1]}, "value for each of 2 prompts. Received: 1"),
        ([{"prompt": "a", "ended": True}], {}, "come from the policy.*'ended'"),
    ],
)
def test_what_is_no_prompt_is_refused(rows: Any, columns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prompts_of(rows, columns)
