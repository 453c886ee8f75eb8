"""Counts the kernels of an optimised XLA program, and its waits for the host."""

from __future__ import annotations

import re
from typing import NamedTuple

# What needs no kernel: names for memory, and what is known while compiling.
_FREE = frozenset(
    "parameter constant tuple get-tuple-element bitcast after-all "
    "partition-id replica-id opt-barrier".split()
)
# What only says that another operation has ended.
_ENDS = re.compile(r"-(done|update)$")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_OPERATION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (?:\(.*?\)|\S+) ([\w\-]+)\(")


class Count(NamedTuple):
    """Kernels and waits of one iteration."""

    kernels: int = 0
    waits: int = 0

    def plus(self, other: Count, times: int = 1) -> Count:
        """Returns the sum with so many times another."""
        return Count(
            self.kernels + times * other.kernels, self.waits + times * other.waits
        )


def count(text: str, passes: int = 1) -> Count:
    """Counts in XLA's optimised program.

    Args:
        text: The program.
        passes: How often a loop runs that is inside of another and whose length XLA
            does not know. An outermost one counts as one pass.
    """
    computations: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            name = head.group(2)
            computations[name] = []
            entry = name if head.group(1) else entry
        elif name and line.startswith("  "):
            computations[name].append(line)

    def inside(name: str, depth: int = 0) -> Count:
        total = Count()
        for line in computations[name]:
            # Layouts and comments hold brackets of their own.
            plain = re.sub(r"/\*.*?\*/|\{[\d,:TSE()]*\}", "", line)
            found = _OPERATION.match(plain)
            if found is None:
                continue
            kind = found.group(1)
            if kind == "while":
                total = total.plus(*loop(line, depth))
            elif kind == "conditional":
                total = total.plus(branch(line, depth)).plus(Count(0, 1))
            elif kind == "call":
                total = total.plus(inside(_called(line, "to_apply"), depth))
            elif kind not in _FREE and not _ENDS.search(kind):
                total = total.plus(Count(1, 0))
        return total

    def loop(line: str, depth: int) -> tuple[Count, int]:
        body = inside(_called(line, "body"), depth + 1)
        known = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
        if known:
            return body, int(known.group(1))
        return body.plus(Count(0, 1)), passes if depth else 1

    def branch(line: str, depth: int) -> Count:
        found = re.search(r"branch_computations=\{([^}]*)\}", line)
        names = re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", line)
        if found:
            names = re.findall(r"%?([\w.\-]+)", found.group(1))
        return max(inside(name, depth) for name in names)

    return inside(entry)


def _called(line: str, role: str) -> str:
    found = re.search(rf"{role}=%?([\w.\-]+)", line)
    if found is None:
        raise ValueError(f"The line must name its {role}. Received: {line}")
    return found.group(1)
