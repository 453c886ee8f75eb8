"""What a mutation table is made of: a shipped function, identities, and mutants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

Array: TypeAlias = Any
Implementation: TypeAlias = Callable[..., Any]
Identity: TypeAlias = Callable[[Implementation], None]


class Subject(NamedTuple):
    """One function, the identities that define it, and plausible wrong versions.

    Attributes:
        name: The public name of the function.
        shipped: What kpg ships, called as the identities call it.
        identities: Each takes an implementation and raises `AssertionError` if the
            implementation does not fulfil it.
        mutants: Wrong versions, by what is wrong with them.
        right: An independent right version, from which mutants are made by a small
            change; it must pass, or a mutant may be killed by an accident.
    """

    name: str
    shipped: Implementation
    identities: Sequence[Identity]
    mutants: Mapping[str, Implementation]
    right: Implementation | None = None


def title(function: Callable[..., Any]) -> str:
    return function.__name__.replace("_", " ")


def kills(identity: Identity, implementation: Implementation) -> bool:
    try:
        identity(implementation)
    except AssertionError:
        return True
    return False


def killers(subject: Subject, mutant: str) -> set[str]:
    """Returns the titles of the identities that a mutant does not fulfil."""
    implementation = subject.mutants[mutant]
    return {title(i) for i in subject.identities if kills(i, implementation)}


def unmatched(subject: Subject) -> set[str]:
    """Returns the mutants that nothing kills, and the identities that kill none."""
    found = {mutant: killers(subject, mutant) for mutant in subject.mutants}
    idle = {title(i) for i in subject.identities}.difference(*found.values())
    return idle | {mutant for mutant, by in found.items() if not by}


def table(subject: Subject) -> str:
    """Returns the mutants (rows) and the identities (columns) as Markdown."""
    titles = [title(identity) for identity in subject.identities]
    rows = [["mutant \\ identity", *titles], ["---"] * (len(titles) + 1)]
    shipped = ["kills" if kills(i, subject.shipped) else "" for i in subject.identities]
    rows.append(["*(what kpg ships)*", *shipped])
    for mutant in subject.mutants:
        found = killers(subject, mutant)
        rows.append([mutant, *("**kills**" if one in found else "" for one in titles)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([f"### `{subject.name}`", "", *lines])


def close(left: Array, right: Array, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)


def gradient(function: Callable[[tf.Tensor], tf.Tensor], at: Array) -> Array:
    point = tf.constant(at, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(point)
        result = function(point)
    return tape.gradient(
        result, point, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )


def softmax(logits: Array) -> Array:
    weights = np.exp(logits - np.max(logits))
    return weights / weights.sum()
