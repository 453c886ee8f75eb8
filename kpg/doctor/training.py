"""What a few iterations say about a trainer, which is left as it was."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg import losses, spaces
from kpg.doctor import copies
from kpg.environments.environment import Environment
from kpg.models.critic import Critic
from kpg.models.policy import Policy
from kpg.testing.algorithm import fragment_of
from kpg.testing.finding import Finding
from kpg.testing.subject import Subject
from kpg.trainers.ppo import PPO
from kpg.trainers.running.kinds import kind_of
from kpg.trainers.trainer import Trainer
from kpg.trajectories import resets
from kpg.types import Config, Tensor

LARGEST_KL = 0.1
RATIO_TOLERANCE = 1e-4
LEAST_EXPLAINED = -0.5
_ITERATIONS = (3, 10)  # at least, at most
_MOST_STEPS = 20_000
_COPIES = (4, 1024)  # usually, at most
_AT_BOUNDS = 0.95


class Trial:
    """A trainer on an environment: how far it moves, and its entropies, in nats."""

    def __init__(self, trainer: Trainer, env: Environment) -> None:
        self.trainer = trainer
        self.env = env
        self.trained = int(tf.convert_to_tensor(trainer.iteration)) > 0
        self.trajectory = fragment_of(trainer, env)
        self.kl = 0.0
        entropies = trainer.policy.family.entropy(self._parameters(training=False))
        self.entropies = [float(losses.mean(entropies, self.trajectory.valid))]
        self.explained: list[float] = []

    def log_ratios(self, training: bool) -> Tensor:
        """Returns `[T, B]`: log-probabilities now less those at the time of acting."""
        rows, family = self.trajectory, self.trainer.policy.family
        log_probs = family.log_prob(self._parameters(training), rows.actions)
        ratios = log_probs - rows.log_probs
        if rows.valid is None:
            return ratios
        return tf.where(rows.valid, ratios, tf.zeros_like(ratios))

    def train(self) -> None:
        """Runs some iterations and notes what they say."""
        training = self.trainer.training_on(self.env.num_envs)
        engine = kind_of(self.env).engine(training, self.env)
        rows = self.env.num_envs * self.trainer.settings.num_steps
        count = int(np.clip(_MOST_STEPS // rows, *_ITERATIONS))
        optimizers = (optimizer for optimizer, _ in training.optimized)
        rates = [float(tf.convert_to_tensor(o.learning_rate)) for o in optimizers]
        for index in range(count):
            sums = engine.run(1, index, count, rates)
            self.entropies.append(sums["entropy"])
            self.explained.append(sums.get("explained_variance", 0.0))
            if index == 0:
                ratios, valid = self.log_ratios(training=False), self.trajectory.valid
                still = tf.zeros_like(ratios)
                self.kl = float(losses.approximate_kl(ratios, still, valid=valid))

    def _parameters(self, training: bool) -> Tensor:
        rows, policy = self.trajectory, self.trainer.policy
        return policy.unroll(
            rows.observations, rows.policy_state, resets(rows), training=training
        )[0]


def default_trainer(subject: Subject) -> Trainer:
    """Returns a small PPO for the spaces, with the mask if there is one."""
    observations, actions = subject.observation_space, subject.action_space
    # `in` asks a space for members, not for keys.
    keys = observations.keys() if isinstance(observations, gym.spaces.Dict) else ()
    options: Config = {key: key for key in keys if key == "action_mask"}
    trainer = PPO(
        Policy(observations, actions, seed=0, **options),
        Critic(observations, seed=1, **options),
        seed=0,
        num_steps=128,
        num_epochs=4,
        minibatch_size=64,
    )
    trainer.compile(jit_compile=False)
    return trainer


def examine(
    subject: Subject, trainer: Trainer, num_envs: int | None, masked: bool
) -> list[Finding]:
    """Steps and trains several copies, by default few, and restores the trainer.

    Where a mask is only in the infos (`masked`), no legal actions can be drawn.
    """
    if not trainer.compiled:
        raise ValueError("Call `compile()` first. Received: a trainer not compiled")
    if num_envs is None:
        num_envs = 1 if subject.factory is None else _copies(trainer)
    found = [] if masked else copies.findings(subject, num_envs or 1)
    if found:
        return found
    env = subject.environment(num_envs or 1)
    trainer.check_environment(env)
    trainer.training_on(env.num_envs).minibatches()  # refuses those that do not fit
    try:
        with _restored(trainer):
            return _examine(trainer, env)
    finally:
        if subject.factory is not None:
            env.close()


def _examine(trainer: Trainer, env: Environment) -> list[Finding]:
    if finding := non_finite_weights(trainer):
        return [finding]
    try:
        trial = Trial(trainer, env)
        if finding := ratio_not_one(trial):
            return [finding]
        trial.train()
    except Exception as error:  # any code of a user may run here
        return [non_finite_weights(trainer) or training_fails(error)]
    if finding := non_finite_weights(trainer):
        return [finding]
    return [finding for check in _TRIED if (finding := check(trial))]


def non_finite_weights(trainer: Trainer) -> Finding | None:
    """Weights that are nan or inf."""
    variables = trainer.learned_variables()
    broken = [v.path for v in variables if not np.isfinite(v.numpy()).all()]
    if not broken:
        return None
    return Finding(
        "non_finite_weights",
        f"{len(broken)} weights hold inf or nan, the first of them {broken[0]}. Load "
        "an earlier model, lower the learning rate, and keep `max_grad_norm`.",
    )


def training_fails(error: Exception) -> Finding:
    """What acting or learning raised."""
    text = " ".join(str(error).split())[:1000]
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return Finding("training_fails", f"{kind}{text}")


def ratio_not_one(trial: Trial) -> Finding | None:
    """A policy that differs between training and acting."""
    moved = tf.exp(trial.log_ratios(training=True)) - 1.0
    ratio = float(tf.reduce_max(tf.abs(moved)))
    if ratio <= RATIO_TOLERANCE:
        return None
    acting = tf.exp(trial.log_ratios(training=False)) - 1.0
    if float(tf.reduce_max(tf.abs(acting))) <= RATIO_TOLERANCE:
        why = (
            "Some layers work differently in training: take Dropout and "
            "BatchNormalization out of the backbone; LayerNormalization is fine"
        )
    else:
        why = (
            "The log-probability of an action differs between acting and learning: "
            "look for randomness or a memory in the backbone's layers, and for a "
            "`log_prob` that does not belong to `sample`"
        )
    seen = "Before any learning the ratio of new to old policy differs from 1 by"
    return Finding("ratio_not_one", f"{seen} {ratio:.2g}. {why}.")


def actions_at_bounds(trial: Trial) -> Finding | None:
    """Actions that are clipped, so that nothing is learned from their differences."""
    family = trial.trainer.policy.family
    taken = tf.nest.flatten(family.to_environment(trial.trajectory.actions))
    for (path, space), rows in zip(
        spaces.leaves(family.action_space), taken, strict=True
    ):
        if not isinstance(space, gym.spaces.Box):
            continue
        low, high = (rows.numpy() <= space.low), (rows.numpy() >= space.high)
        shares = np.where(space.low < space.high, (low | high).mean(axis=(0, 1)), 0.0)
        if shares.max() > _AT_BOUNDS:
            return Finding(
                "actions_at_bounds",
                f"{shares.max():.0%} of the actions{''.join(f'[{k!r}]' for k in path)} "
                f"are at a bound of {space}, where other samples look the same. Give "
                "both bounds and use `kpg.distributions.Normal()`, whose unit is the "
                "Box's, or wrap it in gymnasium.wrappers.RescaleAction.",
                note=trial.trained,
            )
    return None


def kl_too_large(trial: Trial) -> Finding | None:
    """An iteration that moves the policy too far."""
    if trial.kl <= LARGEST_KL:
        return None
    return Finding(
        "kl_too_large",
        f"One iteration moved the policy by {trial.kl:.2g} nats, more than "
        f"{LARGEST_KL:g}. Lower the learning rate, use fewer epochs or `target_kl`.",
    )


def explained_variance(trial: Trial) -> Finding | None:
    """A critic that is worse than none."""
    if trial.trainer.critic is None:
        return None
    # Where rewards are rare a single iteration may be far off.
    later = float(np.median(trial.explained[len(trial.explained) // 2 :]))
    if later >= LEAST_EXPLAINED:  # which NaN is not
        return None
    return Finding(
        "explained_variance",
        f"After {len(trial.explained)} iterations the critic explains {later:.2g} of "
        "the variance of the returns; 0 is no better than a constant, 1 is perfect. "
        "Raise the critic's learning rate or `vf_coef`, use `normalize_rewards=True`, "
        "and make sure that observations show what the return depends on.",
    )


def entropy_collapse(trial: Trial) -> Finding | None:
    """A policy that stops trying within a few iterations."""
    first, last = trial.entropies[0], trial.entropies[-1]
    family = trial.trainer.policy.family
    sizes = [math.prod(spec.shape) for spec in tf.nest.flatten(family.raw_spec)]
    # The entropy of a density may be negative: a fall by e² in each standard deviation.
    least = 0.1 * first if family.num_choices else first - 2.0 * sum(sizes)
    if last >= least:
        return None
    return Finding(
        "entropy_collapse",
        f"The policy's entropy fell from {first:.2g} to {last:.2g} nats in "
        f"{len(trial.entropies) - 1} iterations, so it hardly tries anything new. "
        "Raise `ent_coef`, or lower the learning rate.",
    )


_TRIED = (actions_at_bounds, kl_too_large, explained_variance, entropy_collapse)
# In the order of the report.
_FIRST = ("non_finite_weights", "ratio_not_one", "training_fails")
TRAINING = (*_FIRST, *(check.__name__ for check in _TRIED))


@contextlib.contextmanager
def _restored(trainer: Trainer) -> Iterator[None]:
    variables = [*trainer.variables]
    for optimizer, _ in trainer.optimized_variables():
        variables += optimizer.variables
    values = [variable.numpy() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _copies(trainer: Trainer) -> int:
    """Returns a small number of copies that the minibatches allow."""
    fewest, most = _COPIES
    counts: list[int] = [*range(fewest, most), *range(1, fewest)]
    for count in counts:
        with contextlib.suppress(ValueError):
            trainer.training_on(count).minibatches()
            return count
    trainer.training_on(1).minibatches()  # says what does not fit
    return 1
