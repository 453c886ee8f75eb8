"""What an algorithm says of itself, and the models that it improves."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kpg import spaces
from kpg.environments.environment import Environment
from kpg.models import Critic, Policy, RunningNormalization
from kpg.trainers.learning.batches import Batch, Estimates, Gains, update_schedule
from kpg.trainers.learning.reference import Reference
from kpg.trainers.settings import TrainerSettings


class Algorithm(keras.Model):
    """Models, settings and counters, and how advantages and losses come about.

    `Trainer`, whose documentation has the arguments, adds what Keras users call;
    `REINFORCE`, `ActorCritic` and `PPO` say what is left open here.
    """

    settings_class: ClassVar[type[TrainerSettings]]
    metric_names: ClassVar[tuple[str, ...]] = (
        "loss",
        "policy_loss",
        "value_loss",
        "entropy",
    )
    settings: TrainerSettings
    critic_is_optional: ClassVar[bool] = False

    def __init__(
        self,
        policy: Policy,
        critic: Critic | None = None,
        seed: int | None = None,
        *,
        executor: Any = None,
        **settings: Any,
    ) -> None:
        keras_arguments = {k: settings.pop(k) for k in ("name",) if k in settings}
        super().__init__(**keras_arguments)
        self.settings = self.settings_class.make(settings)
        if critic is None and not self.critic_is_optional:
            raise ValueError(
                f"{type(self).__name__} needs a critic; give a `kpg.models.Critic` of "
                "the same observations. Received: critic=None"
            )
        if critic is not None and critic.observation_space != policy.observation_space:
            raise ValueError(
                "Policy and critic must be for the same observations. Received: "
                f"policy for {policy.observation_space}, "
                f"critic for {critic.observation_space}"
            )
        if executor is not None and not executor.trainable_variables:
            raise ValueError(
                "An executor that learns needs trainable weights; leave a frozen one "
                "to the environment alone. Received: executor="
                f"{executor.name}, whose weights are all frozen"
            )
        self.policy = policy
        self.critic = critic
        self.executor: Any = executor
        self.seed = seed
        self.entropy = (secrets.randbits(31) if seed is None else seed) & 0x7FFFFFFF
        self.return_moments = RunningNormalization(())
        self.reference: Reference | None = None
        if self.settings.reference_kl_coef > 0:
            self.reference = Reference(policy, self.settings)
        self.iteration = self._counter("iteration")
        self.env_steps_counter = self._counter("env_steps")
        self.critic_optimizer: Any = None
        self.executor_optimizer: Any = None
        self.add_state()
        self(_inputs(policy.observation_space))

    def _counter(self, name: str) -> Any:
        return self.add_weight(
            name=name, shape=(), dtype="int64", initializer="zeros", trainable=False
        )

    def add_state(self) -> None:
        """Adds what an algorithm keeps besides the models: variables to be saved."""

    @abstractmethod
    def estimate(self, estimates: Estimates) -> Gains:
        """Returns advantages and the critic's targets, both `[T, B]`."""

    @abstractmethod
    def policy_loss(
        self, log_probs: tf.Tensor, rows: Batch, progress: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the policy's loss on a minibatch and the algorithm's own metrics.

        Args:
            log_probs: `[N]`, of the rows' actions under the policy as it is now.
            rows: The minibatch.
            progress: Scalar in [0, 1], how much of this `fit` is done.
        """

    @property
    def restart_every_iteration(self) -> bool:
        """Whether each iteration starts new episodes and keeps one of each copy."""
        return False

    @property
    def estimates_every_epoch(self) -> bool:
        """Whether advantages are estimated anew, by the models as they have become."""
        return False

    @property
    def uses_log_ratios(self) -> bool:
        """Whether `estimate` wants to know how far the policy has moved."""
        return False

    @property
    def centers_advantages(self) -> bool:
        """Whether the mean of the advantages is subtracted from them."""
        return False

    @property
    def measures_kl(self) -> bool:
        """Whether `follow_kl` is to be called after each iteration's updates."""
        return False

    def follow_kl(self, kl: tf.Tensor) -> None:
        """Adapts what depends on the distance that an iteration moved the policy.

        Args:
            kl: Scalar, KL(π_old ‖ π) over all rows of the iteration, in nats; NaN if
                nothing was learned from them.
        """

    @property
    def measures_gains(self) -> bool:
        """Whether `follow_gains` is to be called after each iteration's updates."""
        return False

    def follow_gains(self, mean: tf.Tensor) -> None:
        """Adapts what depends on the advantages of an iteration.

        Args:
            mean: Scalar, over all rows, before they are standardised; NaN if nothing
                was learned from them.
        """

    @property
    def compares_with_greedy(self) -> bool:
        """Whether each episode is to be played greedily from its start as well."""
        return False

    @property
    def recurrent(self) -> bool:
        """Whether a model remembers; minibatches are then whole sequences."""
        models = [model for model in (self.policy, self.critic) if model is not None]
        return any(model.recurrent for model in models)

    def learned_variables(self) -> list[Any]:
        """Returns the trainable variables of all models, each once."""
        return [v for _, variables in self.optimized_variables() for v in variables]

    def optimized_variables(self) -> list[tuple[Any, list[Any]]]:
        """Returns each optimizer with its variables, in the order of the gradients."""
        policy = list(self.policy.trainable_variables)
        known = {id(variable) for variable in policy}
        critic = [
            variable
            for variable in getattr(self.critic, "trainable_variables", ())
            if id(variable) not in known  # a shared trunk
        ]
        if self.critic_optimizer is None:
            pairs = [(self.optimizer, policy + critic)]
        else:
            pairs = [(self.optimizer, policy), (self.critic_optimizer, critic)]
        if self.executor_optimizer is not None:
            executor = list(self.executor.trainable_variables)
            pairs.append((self.executor_optimizer, executor))
        return pairs

    @property
    def optimizers(self) -> list[Any]:
        """The policy's optimizer and, if they have their own, the others'."""
        return [optimizer for optimizer, _ in self.optimized_variables()]

    def update_schedule(self, num_envs: int) -> tuple[int, int]:
        """See `kpg.trainers.learning.batches.update_schedule`."""
        return update_schedule(self, num_envs)

    def check_environment(self, env: Environment) -> None:
        """Refuses an environment that the models were not made for.

        Raises:
            ValueError: If a space differs.
        """
        for kind in ("observation_space", "action_space"):
            wanted, given = getattr(self.policy, kind), getattr(env, kind)
            if given is not None and wanted != given:
                raise ValueError(
                    f"The environment's {kind} is not the one that the policy was made "
                    f"for; make a Policy with this environment's spaces. Received: "
                    f"{given}, but the policy has {wanted}"
                )

    def set_reference(self, policy: Policy | None = None) -> None:
        """Takes a policy, as it is now, for the reference of `reference_kl_coef`.

        Its weights are copied. Without this call the first `fit` takes the policy as it
        finds it; a callback may call it to let the reference follow.

        Args:
            policy: One with the same layers. Defaults to the policy that is trained.

        Raises:
            ValueError: If the trainer has no reference, or the policy does not fit.
        """
        if self.reference is None:
            self.settings.refuse("reference_kl_coef", "must be above 0 for a reference")
        else:
            self.reference.choose(self.policy if policy is None else policy)

    @property
    def env_steps(self) -> int:
        """Environment steps taken since the trainer was made."""
        return int(tf.convert_to_tensor(self.env_steps_counter))

    def call(self, observations: Any, training: bool = False) -> Any:
        """Returns greedy actions for `[B, ...]` observations.

        A recurrent policy takes each of them for the first of an episode.
        """
        return self.policy.family.to_environment(self.policy.mode(observations))


def _inputs(space: Any) -> Any:
    """Returns symbolic inputs of Keras for a batch of observations."""
    return tf.nest.map_structure(
        lambda spec: keras.Input(tuple(spec.shape), dtype=spec.dtype.name),
        spaces.specs(space),
    )
