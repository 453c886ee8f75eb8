"""Which optimizers a trainer can be compiled with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from kpg.trainers.trainer import Trainer


def checked_optimizer(trainer: Trainer, optimizer: Any) -> Any:
    """Returns the Keras optimizer that was named.

    Raises:
        ValueError: If it and the trainer both have a schedule of the learning rate.
    """
    optimizer = keras.optimizers.get(optimizer)
    schedule = trainer.settings.learning_rate_schedule
    if schedule != "constant" and not hasattr(optimizer.learning_rate, "assign"):
        raise ValueError(
            "An optimizer with a LearningRateSchedule of its own needs "
            "`learning_rate_schedule='constant'`. Received: "
            f"learning_rate_schedule={schedule!r}"
        )
    return optimizer


def checked_executor_optimizer(trainer: Trainer, optimizer: Any) -> Any:
    """Returns the executor's own optimizer, or `None` if there is no executor.

    Raises:
        ValueError: As `checked_optimizer`, or if one of the two is missing.
    """
    if (trainer.executor is None) != (optimizer is None):
        raise ValueError(
            "An executor that learns has an optimizer of its own: give the trainer an "
            "`executor` and `compile` an `executor_optimizer`, or neither; a frozen "
            f"one is the environment's alone. Received: executor={trainer.executor}, "
            f"executor_optimizer={optimizer}"
        )
    return None if optimizer is None else checked_optimizer(trainer, optimizer)


def checked_critic_optimizer(trainer: Trainer, optimizer: Any) -> Any:
    """Returns the critic's own optimizer, or `None` if it is to have none.

    Raises:
        ValueError: As `checked_optimizer`, or if no critic has weights of its own.
    """
    if optimizer is None:
        return None
    critic = trainer.critic
    if critic is None or critic.trunk is trainer.policy.trunk:
        raise ValueError(
            "`critic_optimizer` needs a critic with weights of its own; leave it "
            "out. Received: "
            + ("no critic" if critic is None else "a critic on a shared trunk")
        )
    return checked_optimizer(trainer, optimizer)
