"""Whether an environment keeps its contract."""

from __future__ import annotations

from kpg.testing.playing import Broken, equal, nondeterministic, play, trace
from kpg.testing.subject import subject_of

_MOST_STEPS = 500
# An environment may have no time limit.
_LONGEST = 100


def check_environment(env: object, random: bool = True) -> None:
    """Plays an environment at random and checks everything that comes back.

    That is: spaces that kpg supports; the shape and dtype of each observation, and its
    place in the space; one finite reward and two flags for each step; the same episode
    for the same seed, and another for another. Of a functional environment also: states
    that keep their structure, rewards `[B]` float32 and ends `[B]` bool, nothing kept
    in Python between calls, one trace for all steps, the same under XLA, and rows that
    do not depend on each other. `kpg.doctor.diagnose` looks for more, and trains.

    Args:
        env: What `kpg.environments.as_environment` takes. It is reset and stepped.
        random: Whether seeds must give different episodes. Defaults to `True`.

    Raises:
        AssertionError: If something is wrong; it says what, and what to do.
        ValueError: If `env` is not an environment.
    """
    subject = subject_of(env)
    try:
        findings = play(subject, _MOST_STEPS, _LONGEST).report
        if not findings:
            findings = [finding for finding in [nondeterministic(subject)] if finding]
        if findings:
            raise AssertionError("\n".join(finding.words for finding in findings))
        traces = [trace(subject, seed, 0) for seed in range(4)] if random else []
        if random and all(equal(traces[0], other) for other in traces):
            raise AssertionError(
                "Four seeds gave the same episode for the same actions. Draw random "
                "numbers from `rng` in a functional environment, `self.np_random` in a "
                "`gymnasium.Env`. If nothing is random, say so: random=False."
            )
    except Broken as broken:
        raise AssertionError(broken.finding.words) from broken
    finally:
        subject.close()
