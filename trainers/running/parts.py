"""Which models and optimizers a trainer accepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import keras

from kpg.models.action_model import ActionModel
from kpg.models.critic import Critic
from kpg.models.policy import Policy
from kpg.types import Config

Identifier: TypeAlias = "keras.optimizers.Optimizer | str | Config"
"""What `keras.optimizers.get` takes: an optimizer, its name or its configuration."""


def check_models(
    trainer: str,
    policy: Policy,
    critic: Critic | None,
    executor: keras.Model | None,
    critic_is_optional: bool,
) -> None:
    """Refuses models that do not go together in a trainer, and what is no model."""
    sees = isinstance(critic, keras.Model) and hasattr(critic, "observation_space")
    if not isinstance(policy, ActionModel) or not (sees or critic is None):
        given = policy if isinstance(policy, str) else type(policy).__name__
        raise ValueError(
            f"{trainer} takes models, and `fit` the environment. Type policy = "
            "kpg.models.Policy(env.observation_space, env.action_space); critic = "
            f"kpg.models.Critic(env.observation_space); {trainer}(policy, critic). "
            f"Texts need a kpg.models.CausalLMPolicy. Received: policy={given}, "
            f"critic={type(critic).__name__}"
        )
    if critic is None and not critic_is_optional:
        raise ValueError(
            f"{trainer} needs a critic; give a `kpg.models.Critic` of "
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
            "An executor that learns needs trainable weights; give a frozen one to "
            f"the environment alone. Received: executor={executor.name}, whose "
            "weights are all frozen"
        )


def checked_optimizer(
    optimizer: Identifier, schedule: str
) -> keras.optimizers.Optimizer:
    """Returns the Keras optimizer, if only it or the trainer has a schedule."""
    found: keras.optimizers.Optimizer = keras.optimizers.get(optimizer)
    inner = getattr(found, "inner_optimizer", found)
    if hasattr(inner, "optimizers"):  # which has no learning rate to log or to set
        raise ValueError(
            "A trainer does without `MultiOptimizer`; give the critic an optimizer of "
            f"its own as `critic_optimizer`. Received: {inner.name}"
        )
    if schedule != "constant" and not hasattr(found.learning_rate, "assign"):
        raise ValueError(
            "An optimizer with a LearningRateSchedule of its own needs "
            "`learning_rate_schedule='constant'`. Received: "
            f"learning_rate_schedule={schedule!r}"
        )
    return found


def checked_executor_optimizer(
    optimizer: Identifier | None, executor: keras.Model | None, schedule: str
) -> keras.optimizers.Optimizer | None:
    """Returns the executor's optimizer; `None` if and only if there is no executor."""
    if (executor is None) != (optimizer is None):
        raise ValueError(
            "An executor that learns has an optimizer of its own: give the trainer an "
            "`executor` and `compile` an `executor_optimizer`, or neither; a frozen "
            f"one belongs to the environment alone. Received: executor={executor}, "
            f"executor_optimizer={optimizer}"
        )
    return None if optimizer is None else checked_optimizer(optimizer, schedule)


def checked_critic_optimizer(
    optimizer: Identifier | None, policy: Policy, critic: Critic | None, schedule: str
) -> keras.optimizers.Optimizer | None:
    """Returns the critic's own optimizer, if any; the critic needs its own weights."""
    if optimizer is None:
        return None
    if critic is None or critic.trunk is policy.trunk:
        raise ValueError(
            "`critic_optimizer` needs a critic with weights of its own; omit it. "
            "Received: "
            + ("no critic" if critic is None else "a critic on a shared trunk")
        )
    return checked_optimizer(optimizer, schedule)


def check_distinct(optimizers: Sequence[keras.optimizers.Optimizer | None]) -> None:
    """Refuses one optimizer, which has one state, for two sets of weights."""
    given = [id(optimizer) for optimizer in optimizers if optimizer is not None]
    if len(set(given)) < len(given):
        raise ValueError(
            "`optimizer`, `critic_optimizer` and `executor_optimizer` must be objects "
            "of their own. Received: the same object twice"
        )


def uses_half_precision(model: keras.Model) -> bool:
    """Whether gradients of some layer's computation are float16."""
    layers = model._flatten_layers()
    return any(layer.dtype_policy.name == "mixed_float16" for layer in layers)


def scaling(
    optimizer: keras.optimizers.Optimizer | None,
) -> keras.optimizers.Optimizer | None:
    """Wraps an optimizer in Keras's dynamic loss scaling, unless it is."""
    scales = keras.optimizers.LossScaleOptimizer
    if optimizer is None or isinstance(optimizer, scales):
        return optimizer
    return scales(optimizer, name="loss_scale_optimizer")
