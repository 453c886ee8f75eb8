"""Text tasks on the command line, from presets to served completions."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from typing_extensions import override

from kpg.cli import algorithms, client_flags, preset
from kpg.cli.command_result import CommandResult, UsageError
from kpg.cli.kind import Kind, Seeds
from kpg.cli.preset import Preset
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.cli.runs import Run
from kpg.types import Config, Logs

if TYPE_CHECKING:
    import keras

    from kpg.environments.environment import Environment
    from kpg.language.generation import TextGeneration
    from kpg.models.language.causal_lm_policy import CausalLMPolicy
    from kpg.models.policy import Policy
    from kpg.trainers.trainer import Trainer

_PACKAGE = "kpg.cli.language"
_PREFIX = "text:"
# Baselines that need groups, and how many completions of a prompt these have.
_COMPARING = ("group_normalized", "leave_one_out")
_GROUP = 8


class Texts(Kind):
    """Tasks `text:NAME`: a small language model completes prompts for rewards.

    Drawn completions are measured: the most likely one is always the same.
    """

    deterministic = False
    takes_prompts = True
    owners = ("texts", "Task")
    spaces = "texts"

    @override
    def ids(self) -> list[str]:
        return [f"{_PREFIX}{name}" for name in preset.names(_PACKAGE)]

    @override
    def entries(self, id: str) -> dict[str, Config]:
        if id not in self.ids():
            raise ValueError(
                f"A text task must be one of {', '.join(self.ids())}. Received: {id}"
            )
        return preset.read(_PACKAGE, id.removeprefix(_PREFIX))

    @override
    def further_settings(
        self, chosen: Preset, known: Sequence[str], settings: Config
    ) -> Config:
        """A completion has as many tokens as in the task's first entry.

        What compares groups has some, if neither task nor user says how large.
        """
        more: Config = {}
        if "num_steps" not in chosen.trainer:
            more["num_steps"] = self.load(chosen.env).trainer["num_steps"]
        baseline = settings.get("baseline", chosen.trainer.get("baseline"))
        if baseline in _COMPARING and chosen.task.get("group_size", 1) < 2:
            more["group_size"] = _GROUP
        return more

    @override
    def build(self, chosen: Preset, seeds: Seeds) -> tuple[Trainer, Environment]:
        """Makes the task, a language model with random weights, and a trainer."""
        import tensorflow as tf

        from kpg.cli.language import task
        from kpg.language.pretrained.small_models import gpt2
        from kpg.language.tokenizers.tokenizer import ByteTokenizer
        from kpg.models.language.causal_lm_policy import CausalLMPolicy

        epochs = chosen.task.get("pretraining_epochs", 0)
        if epochs and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise ValueError(
                "A supervised start is learned on one replica: add --set "
                "pretraining_epochs=0, or leave out --strategy. Received: "
                f"pretraining_epochs={epochs} under several replicas"
            )
        fields = dataclasses.asdict(chosen)
        env = task.environment(fields, chosen.num_envs, seeds.environment)
        tokenizer, names = ByteTokenizer(), inspect.signature(gpt2).parameters
        of_model = {k: v for k, v in chosen.policy.items() if k in names}
        of_policy = {k: v for k, v in chosen.policy.items() if k not in names}
        lm = gpt2(tokenizer.vocabulary_size(), seed=seeds.policy, **of_model)
        policy = CausalLMPolicy(lm, tokenizer, **of_policy)
        prompts, _ = policy.padded(env.prompts)
        policy.check_room(prompts.shape[1], env.max_new_tokens)
        trainer = algorithms.find(chosen.algorithm)
        needed = trainer.settings_class.make(chosen.trainer).uses_critic
        critic = policy.critic if needed else None
        return trainer(policy, critic, seed=seeds.trainer, **chosen.trainer), env

    @override
    def evaluation(self, chosen: Config, episodes: int, seed: int) -> Environment:
        from kpg.cli.language import task

        return task.environment(chosen, None, seed)

    @override
    def pretrain(
        self,
        policy: Policy,
        chosen: Preset,
        seed: int,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> Logs:
        """Learns the task's texts, if asked to; the loss is in nats a token."""
        from kpg.cli.language.task import Task
        from kpg.language.tokenizers.phrases import phrases
        from kpg.models.language.pretraining import pretrain

        task = Task(**chosen.task)
        if not task.pretraining_epochs:
            return {}
        started = time.perf_counter()
        history = pretrain(
            policy,
            phrases(task.texts),
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

    @override
    def callbacks(
        self, run: Run, trainer: Trainer, validation: Environment, total_steps: int
    ) -> list[keras.callbacks.Callback]:
        from kpg.cli.language.completions import CompletionRecorder, TextProgress
        from kpg.cli.recording import RunRecorder

        env = cast("TextGeneration", validation)
        progress = TextProgress(total_steps, env, trainer.settings.num_steps)
        return [RunRecorder(run), CompletionRecorder(run, env), progress]

    @override
    def details(self, logs: Config) -> Config:
        """Returns the mean of each reward."""
        prefix = "reward/"
        names = [name for name in logs if name.startswith(prefix)]
        return {"rewards": {n.removeprefix(prefix): float(logs[n]) for n in names}}

    @override
    def play(self, options: argparse.Namespace) -> CommandResult:
        """Completes prompts, by a server or by a run's policy."""
        if not options.prompts:
            raise UsageError(
                "A text policy completes prompts; give one with --prompt. Received: "
                f"{options.env} without --prompt"
            )
        if options.max_steps is not None:
            raise UsageError(
                "A completion is bounded by --max-new-tokens; leave --max-steps out. "
                f"Received: {options.env} with --max-steps"
            )
        how = {"seed": options.seed, "deterministic": options.deterministic}
        if options.server is None:
            texts = _complete_here(options, how)
        else:
            with client_flags.client_of(options) as client:
                client.wait_until_ready(timeout=0.0)
                texts = client.complete(
                    options.prompts,
                    max_new_tokens=options.max_new_tokens,
                    temperature=options.temperature,
                    **how,
                )
        pairs = list(zip(options.prompts, texts, strict=True))
        values = {
            "env": options.env,
            "server": options.server,
            "completions": [{"prompt": p, "completion": text} for p, text in pairs],
        }
        return CommandResult(values, "\n".join(map("".join, pairs)))

    @override
    def to_examine(self, id: str, num_envs: int | None) -> object:
        raise UsageError(
            "The doctor examines Gymnasium environments; `kpg evaluate` judges texts. "
            f"Received: {id}"
        )


def _complete_here(options: argparse.Namespace, how: Config) -> list[str]:
    """Completes prompts by a run's best model."""
    if options.temperature is not None:
        raise UsageError(
            "A run's policy keeps the temperature that it was trained at; export and "
            "serve it to choose another one. Received: --temperature without --server"
        )
    if options.env.startswith(_PREFIX):
        raise UsageError(
            "A task alone has no policy: give a run directory instead, or the address "
            f"of `kpg serve` with --server. Received: {options.env}"
        )
    run = Run(options.env)
    run.model_file()
    import_tensorflow(options.debug)
    trainer = algorithms.load(run)
    count = options.max_new_tokens or trainer.settings.num_steps
    policy = cast("CausalLMPolicy", trainer.policy)
    texts: list[str] = policy.generate(options.prompts, count, **how)
    return texts
