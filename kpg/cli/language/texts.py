"""Text tasks on the command line: `text:NAME`, from its preset to a trainer."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kpg.cli import presets
from kpg.cli.presets import Preset

# A batch of a validation or an evaluation, whose completions are kept together.
_ROWS = 32
_NOT_SETTINGS = {"vocabulary_size", "seed", "causal_lm", "tokenizer", "kwargs"}


@dataclasses.dataclass(frozen=True)
class Task:
    """What makes a text task of a preset.

    Attributes:
        prompts: Parts of the prompts, see `kpg.text.phrases`.
        rewards: The rewards, see `kpg.rewards.deserialize`.
        texts: Parts of the texts of the supervised start.
        reward_weights: See `TextGeneration`. Defaults to 1 each.
        group_size: See `TextGeneration`. Defaults to 1.
        pretraining_epochs: Passes over the texts before anything is rewarded, ≥ 0.
            Defaults to 0.
        pretraining_learning_rate: Adam's in these. Defaults to 0.001.

    Raises:
        ValueError: If a number is out of range, or there are no texts to learn.
    """

    prompts: Sequence[Sequence[str]]
    rewards: Sequence[Mapping[str, Any]]
    texts: Sequence[Sequence[str]] = ()
    reward_weights: Sequence[float] | None = None
    group_size: int = 1
    pretraining_epochs: int = 0
    pretraining_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        """Checks what is used only once there is a run directory."""
        epochs, rate = self.pretraining_epochs, self.pretraining_learning_rate
        if type(epochs) is not int or epochs < 0:
            raise ValueError(
                "`pretraining_epochs` must be a whole number of at least 0. "
                f"Received: pretraining_epochs={epochs!r}"
            )
        if type(rate) not in (int, float) or not 0 < rate < float("inf"):
            raise ValueError(
                "`pretraining_learning_rate` must be a finite number greater than 0. "
                f"Received: pretraining_learning_rate={rate!r}"
            )
        if epochs and not self.texts:
            raise ValueError(
                "A supervised start needs `texts`; set pretraining_epochs=0 to do "
                f"without. Received: texts={self.texts!r}, pretraining_epochs={epochs}"
            )


def settings_names() -> tuple[list[str], list[str]]:
    """Returns the names of the policy's and of the task's settings."""
    import kpg

    functions = (kpg.text.gpt2, kpg.models.CausalLMPolicy)
    of_policy = [
        name
        for function in functions
        for name in inspect.signature(function).parameters
        if name not in _NOT_SETTINGS
    ]
    return of_policy, [field.name for field in dataclasses.fields(Task)]


def chosen_preset(
    env: str, settings: Mapping[str, Any], of_trainer: Mapping[str, Sequence[str]]
) -> Preset:
    """Puts the user's words over the preset of a text task.

    Args:
        env: Id of the task.
        settings: Values by name, `algorithm` perhaps among them.
        of_trainer: The names of the settings of each algorithm.

    Raises:
        ValueError: If the task, the algorithm or a setting is unknown, or a value out
            of its range.
    """
    settings = dict(settings)
    tuned = presets.algorithms(env)
    algorithm = settings.pop("algorithm", tuned[0])
    preset = presets.load(env, algorithm if algorithm in tuned else None)
    if algorithm not in tuned:
        preset = dataclasses.replace(preset, algorithm=algorithm)  # or it is refused
        tokens = {"num_steps": preset.trainer["num_steps"]}
        preset = presets.with_algorithm(preset, algorithm, of_trainer[algorithm])
        settings = tokens | settings
    of_policy, of_task = settings_names()
    return presets.with_settings(
        preset,
        settings,
        policy=of_policy,
        trainer=of_trainer[algorithm],
        task=of_task,
    )


def build(preset: Preset, env: Any, seed: int, trainer_seed: int) -> Any:
    """Makes a language model with random weights, its policy, and a trainer.

    Args:
        preset: The preset.
        env: Its task.
        seed: Seed of the weights.
        trainer_seed: Seed of the trainer.

    Raises:
        ValueError: If a setting is out of its range, or the model reads less than the
            longest prompt and its completion.
    """
    import kpg

    tokenizer = kpg.text.ByteTokenizer()
    names = inspect.signature(kpg.text.gpt2).parameters
    of_model = {k: v for k, v in preset.policy.items() if k in names}
    of_policy = {k: v for k, v in preset.policy.items() if k not in names}
    lm = kpg.text.gpt2(tokenizer.vocabulary_size(), seed=seed, **of_model)
    policy = kpg.models.CausalLMPolicy(lm, tokenizer, **of_policy)
    prompts, _ = policy.padded(env.prompts)
    policy.check_room(prompts.shape[1], env.max_new_tokens)
    make = getattr(kpg.trainers, preset.algorithm)
    return make(policy, policy.critic, seed=trainer_seed, **preset.trainer)


def environment(preset: Mapping[str, Any], num_envs: int | None, seed: int) -> Any:
    """Makes the task of a preset.

    Args:
        preset: The preset's fields by name.
        num_envs: Completions of an iteration. Defaults to as many as are measured at a
            time.
        seed: Seed of the order of the prompts.
    """
    import kpg

    task = Task(**preset["task"])
    return kpg.environments.TextGeneration(
        kpg.text.phrases(task.prompts),
        rewards=[kpg.rewards.deserialize(reward) for reward in task.rewards],
        reward_weights=task.reward_weights,
        max_new_tokens=preset["trainer"]["num_steps"],
        group_size=task.group_size if num_envs else 1,
        num_envs=num_envs or min(preset["validation_episodes"], _ROWS),
        seed=seed,
    )


def pretrain(
    policy: Any, preset: Preset, seed: int, callbacks: Sequence[Any]
) -> dict[str, float]:
    """Gives a policy its supervised start.

    Args:
        policy: The policy.
        preset: Whose texts are learned.
        seed: Seed of their order.
        callbacks: Keras callbacks.

    Returns:
        `pretraining_loss`, of the last epoch in nats a token, and
        `pretraining_seconds`; nothing where no such start is wanted.
    """
    import kpg

    task = Task(**preset.task)
    if not task.pretraining_epochs:
        return {}
    started = time.perf_counter()
    history = kpg.models.pretrain(
        policy,
        kpg.text.phrases(task.texts),
        epochs=task.pretraining_epochs,
        learning_rate=task.pretraining_learning_rate,
        seed=seed,
        callbacks=callbacks,
        verbose=0,
    )
    return {
        "pretraining_loss": float(history.history["loss"][-1]),
        "pretraining_seconds": time.perf_counter() - started,
    }
