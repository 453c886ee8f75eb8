"""What kpg ships fulfils every identity; every plausible wrong version breaks one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mutants.gae import GAE, GAE_KILLERS
from tests.mutants.subject import (
    Identity,
    Implementation,
    Subject,
    killers,
    table,
    title,
    unmatched,
)
from tests.mutants.subjects import SUBJECTS

SHIPPED = [
    pytest.param(identity, version, id=f"{subject.name}-{title(identity)}-{which}")
    for subject in SUBJECTS
    for which, version in (("shipped", subject.shipped), ("right", subject.right))
    for identity in subject.identities
    if version is not None
]


@pytest.mark.parametrize(("identity", "implementation"), SHIPPED)
def test_identity(identity: Identity, implementation: Implementation) -> None:
    """Of the shipped function, and of the version from which mutants are made."""
    identity(implementation)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_each_mutant_is_killed_and_each_identity_kills(subject: Subject) -> None:
    assert not unmatched(subject)


@pytest.mark.parametrize("mutant", GAE.mutants)
def test_gae_mutant_is_killed_by_exactly(mutant: str) -> None:
    assert killers(GAE, mutant) == GAE_KILLERS[mutant]


def test_the_table_names_what_kills() -> None:
    def is_one(function: Any) -> None:
        assert function() == 1

    subject = Subject("one", lambda: 1, [is_one], {"two": lambda: 2, "1": lambda: 1})
    *_, head, line, shipped, killed, survived = table(subject).splitlines()
    assert head == "| mutant \\ identity | is one |"
    assert line == "| --- | --- |"
    assert shipped == "| *(what kpg ships)* |  |"
    assert killed == "| two | **kills** |"
    assert survived == "| 1 |  |"
