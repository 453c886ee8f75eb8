"""Whole iterations of PPO: what must hold, and how they go wrong around the formulas.

The mistakes are planted in the transcription, which replays the record of one run.
"""

from __future__ import annotations

import functools
from functools import partial

from tests.mutants.subject import Implementation, Subject
from tests.transcription import alike, transcribed
from tests.world import Outcome, trained

PLACE = "on host"
of_host = partial(transcribed, PLACE)


def shipped() -> Outcome:
    return trained(PLACE).outcome


@functools.cache
def run_of(implementation: Implementation) -> Outcome:
    outcome: Outcome = implementation()
    return outcome


def compared(implementation: Implementation, *names: str) -> None:
    alike(run_of(implementation), run_of(of_host), *names)


def the_policy_is_that_of_the_papers(run: Implementation) -> None:
    compared(run, "policy")


def the_critic_is_that_of_the_papers(run: Implementation) -> None:
    compared(run, "critic")


def moments_are_of_the_observations_so_far(run: Implementation) -> None:
    compared(run, "observations")


def moments_are_of_the_returns_so_far(run: Implementation) -> None:
    compared(run, "returns")


def logs_are_means_over_minibatches(run: Implementation) -> None:
    names = ("loss", "policy_loss", "value_loss", "entropy", "approx_kl")
    compared(run, *names, "clip_fraction")


def logs_are_of_the_iteration(run: Implementation) -> None:
    compared(run, "kl", "gain", "explained_variance", "learning_rate")


def logs_are_of_the_episodes(run: Implementation) -> None:
    compared(run, "return", "length", "episodes")


ITERATIONS = Subject(
    name="PPO.fit",
    shipped=shipped,
    identities=(
        the_policy_is_that_of_the_papers,
        the_critic_is_that_of_the_papers,
        moments_are_of_the_observations_so_far,
        moments_are_of_the_returns_so_far,
        logs_are_means_over_minibatches,
        logs_are_of_the_iteration,
        logs_are_of_the_episodes,
    ),
    mutants={
        "moments of observations before the updates": partial(of_host, looks="before"),
        "… before and after them": partial(of_host, looks="before and after"),
        "… of reset rows, too": partial(of_host, everywhere=("observations",)),
        "moments of returns of reset rows, too": partial(
            of_host, everywhere=("returns",)
        ),
        "moments of the last iteration": partial(of_host, remembers=False),
        "returns go on over episodes": partial(of_host, traces="nothing"),
        "returns begin with a fragment": partial(of_host, traces="fragments"),
        "rewards clipped before they are divided": partial(of_host, bound="before"),
        "rewards centred": partial(of_host, centred=True),
        "schedules one iteration ahead": partial(of_host, ahead=1),
        "schedules one iteration behind": partial(of_host, ahead=-1),
        "learning rate constant": partial(of_host, constant=("rate",)),
        "clip range constant": partial(of_host, constant=("clip",)),
        "entropy bonus constant": partial(of_host, constant=("bonus",)),
        "stops at the target KL itself": partial(of_host, tolerated=1.0),
        "stops after the step that is too far": partial(of_host, stops="after"),
        "stops for one epoch": partial(of_host, stops="epoch"),
        "KL that stops over reset rows, too": partial(of_host, everywhere=("stop",)),
        "KL of the iteration over reset rows, too": partial(
            of_host, everywhere=("kl",)
        ),
        "mean advantage over reset rows, too": partial(of_host, everywhere=("gain",)),
        "explained variance over reset rows, too": partial(
            of_host, everywhere=("variance",)
        ),
        "losses over reset rows, too": partial(of_host, everywhere=("losses",)),
        "advantages standardised with reset rows": partial(
            of_host, everywhere=("advantages",)
        ),
        "advantages standardised over the fragment": partial(
            of_host, standardised="fragment"
        ),
        "reset rows are steps of episodes": partial(of_host, everywhere=("lengths",)),
        "each gradient clipped": partial(of_host, clips="each"),
        "values clipped around the targets": partial(of_host, centre="targets"),
        "truncation is termination": partial(of_host, cut=True),
    },
    right=of_host,
)
