"""What is wrong with an environment, a trainer or a SavedModel, in words."""

from __future__ import annotations

from kpg.doctor import copies, saved_models
from kpg.doctor.saved_models import diagnose_saved_model as diagnose_saved_model
from kpg.doctor.training import TRAINING, default_trainer, examine
from kpg.doctor.verdicts import VERDICTS
from kpg.testing.finding import Finding as Finding
from kpg.testing.playing import CONTRACT, Broken, play
from kpg.testing.subject import Subject, subject_of
from kpg.trainers.trainer import Trainer

_VERDICTS = [verdict.__name__ for verdict in VERDICTS]
_OF_ENVIRONMENTS = [*CONTRACT, *_VERDICTS, *copies.NAMES, *TRAINING]
NAMES = tuple(dict.fromkeys([*_OF_ENVIRONMENTS, *saved_models.NAMES]))


def diagnose(
    env: object, trainer: Trainer | None = None, num_envs: int | None = None
) -> list[Finding]:
    """Examines an environment with random actions, then a trainer on it.

    First one copy is played, then several are stepped as a trainer steps them, and then
    the trainer is examined on those: each only if nothing was found before, which the
    next would show again. The trainer's weights, optimizer and counters are left as
    they were.

    Args:
        env: What `kpg.environments.as_environment` takes. It is reset and stepped; what
            a function makes is closed.
        trainer: The trainer to examine, compiled. Defaults to a small `PPO`.
        num_envs: Copies for the trainer, where `env` is a functional environment or a
            function. Defaults to 4, or the next number that the minibatches allow.

    Returns:
        The findings, in the order of `NAMES`; those with `note=True` may be intended.

    Raises:
        ValueError: If `env` is not an environment, or the trainer is not compiled or
            was made for other spaces.
    """
    subject = subject_of(env)
    try:
        findings = _environment(subject, trainer)
        if any(not finding.note for finding in findings):
            return findings
        if trainer is None:
            trainer = default_trainer(subject)
        masked = any(finding.name == "mask_in_info" for finding in findings)
        return findings + examine(subject, trainer, num_envs, masked)
    finally:
        subject.close()


def _environment(subject: Subject, trainer: Trainer | None) -> list[Finding]:
    experience = play(subject)
    if experience.findings:
        return experience.report
    try:
        found = [f for verdict in VERDICTS if (f := verdict(subject, experience))]
    except Broken as broken:
        return [broken.finding]
    settings = None if trainer is None else trainer.settings
    handled = {
        "observation_scale": getattr(settings, "normalize_observations", False),
        "reward_scale": getattr(settings, "normalize_rewards", False),
    }
    return [finding for finding in found if not handled.get(finding.name)]
