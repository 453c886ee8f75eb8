"""Many short texts, made of a few parts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def phrases(parts: Sequence[Sequence[str]]) -> list[str]:
    """Joins every choice of one string from each part; the last part changes fastest.

    A string as a part, or an empty list, is refused with a `ValueError`.

    Example:
        >>> kpg.text.phrases([["a ", "the "], ["cat", "dog"]])
        ['a cat', 'a dog', 'the cat', 'the dog']
    """
    wrong = [part for part in parts if isinstance(part, str) or not len(part)]
    if wrong or not len(parts):
        raise ValueError(
            "`parts` must be lists of strings, none of them empty. Received: "
            f"{wrong[0] if wrong else parts!r}"
        )
    return ["".join(choice) for choice in itertools.product(*parts)]
