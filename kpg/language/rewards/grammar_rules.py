"""Rules of written English that can be checked without understanding it."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_END = re.compile(r"[.!?…]+[\"”’')\]]*(?=\s|$)|\n\s*\n")
_CLAUSE = re.compile(r"[,;:()\[\]{}\"“”—–]|\s-+\s|\.\.\.")
_FINISHED = re.compile(r"[.!?…][\"”’')\]]*\s*$")
_SPACING = re.compile(r"\s[,;:!?](?=\s|$)|\s\.(?=\s|$)|[,;](?=[^\W\d_])")
_BRACKET = re.compile(r"[()\[\]{}]")
_LONE_I = re.compile(r"(?<![\w.'’-])i(?![\w.-])")
_ABBREVIATIONS = frozenset(
    "e.g i.e cf vs etc mr mrs ms dr prof st vol fig al jr sr".split()
)

# Where the letter misleads: "a user", "a one"; "an hour".
_CONSONANT_SOUND = re.compile(
    r"uni(?!n|m)|unan|u[tsr][aeiou]|uk|ubiq|eu|ewe|one\b|once\b|u\b"
)
_SILENT_H = re.compile(r"hour|honest|hono|heir")
# Both are written: "a historian", "an historian".
_WEAK_H = re.compile(r"h(?:is|er|ab|yp|ot)")

_FORMS = {
    "i": frozenset("is are has does".split()),
    **dict.fromkeys(("he", "she", "it"), frozenset("am are have do".split())),
    **dict.fromkeys(("we", "you", "they"), frozenset("is am was has does".split())),
}
# After these the pronoun is no subject, or the verb is not finite: "does it have",
# "for you is", "let it do", "you and he are".
_NO_SUBJECT_AFTER = frozenset(
    "and or nor than as if of for to with about from on by in at like between before "
    "after do does did will would can could shall should may might must let make makes "
    "made help helps helped see saw hear heard have has had that is are was were not "
    "don't doesn't didn't won't can't couldn't wouldn't shouldn't".split()
)
_MODALS = frozenset("would could should must cannot can't won't couldn't".split())
_FINITE = frozenset("is are am was were has had does did goes went".split())
_PAST_ONLY = frozenset("went goes took ate wrote knew spoke gave began".split())
_DETERMINERS = frozenset("a an the my your our their".split())
_NO_NOUN = _DETERMINERS | frozenset(
    "of and or but is are was were am to from with than he she it they we i him us "
    "them because".split()
)
_NO_END = _DETERMINERS | frozenset(("and", "or", "but"))


def sentences(text: str) -> list[str]:
    """Splits a text after full stops, and at empty lines; all have a word."""
    found, start = [], 0
    for end in _END.finditer(text):
        before = text[start : end.start()].rsplit(None, 1)
        if before and before[-1].lower().lstrip("(\"'") in _ABBREVIATIONS:
            continue
        found.append(text[start : end.end()])
        start = end.end()
    return [part for part in (*found, text[start:]) if _WORD.search(part)]


def violations(text: str) -> dict[str, int]:
    """Counts how often a text breaks each rule; see `kpg.rewards.Grammar`."""
    parts = sentences(text)
    clauses = [_WORD.findall(piece) for part in parts for piece in _CLAUSE.split(part)]
    counts = {name: sum(map(rule, clauses)) for name, rule in _CLAUSE_RULES.items()}
    words = [_WORD.findall(part) for part in parts]
    counts["determiner"] += sum(found[-1] in _NO_END for found in words)
    counts["capital"] = len(_LONE_I.findall(text))
    counts["capital"] += sum(found[0].islower() and found[0] != "i" for found in words)
    counts["ending"] = int(bool(parts) and not _FINISHED.search(text))
    counts["spacing"] = len(_SPACING.findall(text))
    counts["brackets"] = _unmatched(text)
    return {rule: counts[rule] for rule in RULES}


def _repeated(words: list[str]) -> int:
    low = [word.lower() for word in words]
    # Numbers repeat where a decimal point separates them.
    pairs = ((a, b) for a, b in pairwise(low) if not a.isdigit())
    return sum(a == b and a not in ("had", "that") for a, b in pairs)


def _article(words: list[str]) -> int:
    count = 0
    for article, word in pairwise(words):
        if article.lower() not in ("a", "an") or len(word) < 2 or word[:2].isupper():
            continue
        if not word[0].isalpha() or not word[0].isascii():
            continue
        low = word.lower()
        vowel = low[0] in "aeiou" and not _CONSONANT_SOUND.match(low)
        vowel |= _SILENT_H.match(low) is not None
        if not _WEAK_H.match(low):
            count += vowel == (article.lower() == "a")
    return count


def _agreement(words: list[str]) -> int:
    low = ["", *(word.lower() for word in words)]
    return sum(
        verb in _FORMS.get(subject, ()) and before not in _NO_SUBJECT_AFTER
        for before, subject, verb in zip(low, low[1:], low[2:], strict=False)
    )


def _verb(words: list[str]) -> int:
    low = [word.lower().replace("’", "'") for word in words]
    modal = sum(a in _MODALS and b in _FINITE for a, b in pairwise(low))
    perfect = {"have", "has", "had"}
    return modal + sum(a in perfect and b in _PAST_ONLY for a, b in pairwise(low))


def _determiner(words: list[str]) -> int:
    return sum(
        a.lower() in _DETERMINERS and b.lower() in _NO_NOUN and a.lower() != b.lower()
        for a, b in pairwise(words)
    )


def _unmatched(text: str) -> int:
    closing = {")": "(", "]": "[", "}": "{"}
    opened: list[str] = []
    count = text.count('"') % 2
    for bracket in _BRACKET.findall(text):
        if bracket not in closing:
            opened.append(bracket)
        elif opened and opened[-1] == closing[bracket]:
            opened.pop()
        else:
            count += 1
    return count + len(opened)


_CLAUSE_RULES: dict[str, Callable[[list[str]], int]] = {
    "repeated": _repeated,
    "article": _article,
    "agreement": _agreement,
    "verb": _verb,
    "determiner": _determiner,
}
RULES = ("capital", "ending", *_CLAUSE_RULES, "spacing", "brackets")
