"""How texts are split before byte-pair encoding, by the patterns as published."""

from __future__ import annotations

import itertools

import numpy as np
import regex

# Radford et al. (2019), and Meta's code for Llama 3, of which Qwen 2 counts digits one
# by one. SmolLM's tokenizer parts all digits, and then does as GPT-2's.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    "gpt-2": GPT2,
    "llama-bpe": LLAMA3,
    "qwen2": LLAMA3.replace("{1,3}", ""),
    "smollm": GPT2,
}
SPECIAL = ["<|end|>", "<|end|>12", "<pad>"]
PARTS = [
    *(" ", " ", " ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\x0b", "\x85"),
    *("a", "the", "t", "h", "é", "日", "ǅ", "1", "12", "1213", "३", "Ⅷ", "²"),
    *("'s", "'LL", "'ll", "'", "!", "…", "<|", "|>", "_", "\u0301", "👍🏽", *SPECIAL),
]


def texts(count: int = 400) -> list[str]:
    random = np.random.default_rng(0)
    rows = [random.choice(PARTS, random.integers(1, 12)) for _ in range(count)]
    pairs = ["".join(pair) for pair in itertools.product(PARTS, PARTS)]
    return ["", *pairs, *("".join(row) for row in rows)]


def words(text: str, splitting: str) -> list[str]:
    """Returns the words of a text, special tokens among them."""
    found: list[str] = []
    special = "|".join(map(regex.escape, sorted(SPECIAL, key=len, reverse=True)))
    for piece in regex.split(f"({special})", text):
        if piece in SPECIAL:
            found.append(piece)
            continue
        parts = regex.split(r"(\p{N})", piece) if splitting == "smollm" else [piece]
        for part in parts:
            found += regex.findall(PATTERNS[splitting], part)
    return found
