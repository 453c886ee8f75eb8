"""Environments on the command line: presets, models, episodes, examination."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from kpg import imports
from kpg.cli import (
    algorithms,
    preset,
    runs,
)
from kpg.cli.command_result import CommandResult, UsageError, usage_errors
from kpg.cli.kind import Kind, Seeds
from kpg.cli.preset import Preset
from kpg.cli.runs import Run
from kpg.types import Config

if TYPE_CHECKING:
    import gymnasium
    import keras

    from kpg.environments.environment import Environment
    from kpg.trainers.trainer import Trainer

_PACKAGE = "kpg.cli"
_DEFAULT = "default_"
# Copies that are measured together; on the host each one costs memory.
_GRAPH_COPIES = 100
_HOST_COPIES = 16


class Environments(Kind):
    """Ids that Gymnasium, kpg or EnvPool knows; "module:Id-v0" imports the module."""

    owners = ("Policy",)
    spaces = "environments"

    @override
    def ids(self) -> list[str]:
        names = preset.names(_PACKAGE)
        return [name for name in names if not name.startswith(_DEFAULT)]

    @override
    def entries(self, id: str) -> dict[str, Config]:
        if id in self.ids():
            return preset.read(_PACKAGE, id)
        if runs.is_run(id) or runs.is_export(id):
            raise ValueError(
                "`kpg train` takes the id of an environment or task, such as "
                f"{self.ids()[0]}, and makes the run. Received: {id}, a directory"
            )
        from gymnasium.spaces import Box

        return self.default_entries(isinstance(_probe(id).action_space, Box))

    def default_entries(self, continuous: bool) -> dict[str, Config]:
        """Returns the settings of environments without a preset of their own."""
        kind = "continuous" if continuous else "discrete"
        return preset.read(_PACKAGE, f"{_DEFAULT}{kind}")

    @override
    def further_settings(
        self, chosen: Preset, known: Sequence[str], settings: Config
    ) -> Config:
        """Whole episodes need as many steps as the longest one has."""
        together = {**chosen.trainer, **settings}
        whole = together.get("baseline") is not None
        if "whole_episodes" in known:
            whole = together.get("whole_episodes", True)
        if not whole or "num_steps" in chosen.trainer:
            return {}
        limit = _probe(chosen.env).max_episode_steps
        return {"num_steps": limit} if limit else {}

    @override
    def build(self, chosen: Preset, seeds: Seeds) -> tuple[Trainer, Environment]:
        from kpg.environments.construction import make
        from kpg.models.critic import Critic
        from kpg.models.policy import Policy

        env = make(chosen.env, num_envs=chosen.num_envs, seed=seeds.environment)
        policy = Policy(
            env.observation_space, env.action_space, seed=seeds.policy, **chosen.policy
        )
        # What concerns the actions only, a critic cannot be told.
        names = inspect.signature(Critic).parameters
        shared = {k: v for k, v in chosen.policy.items() if k in names}
        trainer, critic = algorithms.find(chosen.algorithm), None
        if trainer.settings_class.make(chosen.trainer).uses_critic:
            critic = Critic(env.observation_space, seed=seeds.critic, **shared)
        return trainer(policy, critic, seed=seeds.trainer, **chosen.trainer), env

    @override
    def evaluation(self, chosen: Config, episodes: int, seed: int) -> Environment:
        from kpg.environments.construction import make

        copies = _GRAPH_COPIES if _in_graph(chosen["env"]) else _HOST_COPIES
        return make(chosen["env"], num_envs=min(episodes, copies), seed=seed)

    @override
    def callbacks(
        self, run: Run, trainer: Trainer, validation: Environment, total_steps: int
    ) -> list[keras.callbacks.Callback]:
        from kpg.cli.recording import Progress, RunRecorder

        return [RunRecorder(run), Progress(total_steps)]

    @override
    def play(self, options: argparse.Namespace) -> CommandResult:
        """Plays episodes by a run, or without TensorFlow by a served policy."""
        from kpg.cli import playing

        if options.prompts:
            raise UsageError(
                "Only a text policy completes prompts: give a run of a text task, or "
                f"--server. Received: {options.env} with --prompt"
            )
        id, run = options.env, None
        if runs.is_run(id):
            run = Run(id)
            id = run.settings()["env"]
        if options.server is not None:
            measured = playing.play_served(playing.make(id), options)
        elif run is not None:
            measured = playing.play_run(playing.make(id), run, options)
        else:
            raise UsageError(
                "A policy is wanted: give the run of one, or with --server the address "
                f"of `kpg serve`. Received: {options.env} without --server"
            )
        return playing.result({"env": id, "server": options.server} | measured, id)

    @override
    def stage(self, id: str, render_mode: str) -> gymnasium.Env[Any, Any]:
        from kpg.cli import playing

        _import_module(id)
        return playing.make(id, render_mode=render_mode)

    @override
    def to_examine(self, id: str, num_envs: int | None) -> object:
        """Returns the in-graph environment, if any, or what makes Gymnasium's.

        A single environment shows more than a vector, which checks and copies; after it
        the doctor makes several copies as training does.
        """
        import gymnasium

        from kpg.environments.construction import make
        from kpg.testing.subject import Registered

        with usage_errors():
            in_graph = _in_graph(id)
        spec = gymnasium.registry.get(id.rpartition(":")[2])
        vectors_only = spec is not None and spec.entry_point is None
        if in_graph or vectors_only or id.startswith("envpool:"):
            return make(id, num_envs=num_envs or 4, seed=0)
        factory = Registered(id)
        try:
            factory().close()
        except gymnasium.error.UnregisteredEnv as error:
            raise UsageError(f"{error} Received: {id}") from error
        return factory


def _probe(id: str) -> Environment:
    """Makes one closed copy of an environment, to read its properties."""
    from kpg.environments.construction import make

    _import_module(id)
    env = make(id)
    env.close()
    return env


def _import_module(id: str) -> None:
    if ":" in id and not id.startswith("envpool:"):
        imports.module_of(id)


def _in_graph(id: str) -> bool:
    from kpg.environments.registry import IN_GRAPH

    _import_module(id)
    return not id.startswith("envpool:") and id.rpartition(":")[2] in IN_GRAPH
