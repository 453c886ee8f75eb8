"""The base of all trainers: a Keras model that is trained by acting."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from kpg.environments import as_environment
from kpg.environments.environment import Environment
from kpg.models import Critic, Policy
from kpg.trainers.acting.evaluation import Evaluator, evaluator_for
from kpg.trainers.algorithm import Algorithm
from kpg.trainers.running.compilation import pays_off
from kpg.trainers.running.engines import Engine, engine_for
from kpg.trainers.running.fitting import Fitting
from kpg.trainers.running.optimizers import (
    checked_critic_optimizer,
    checked_executor_optimizer,
    checked_optimizer,
)

_OPTIMIZERS = ("optimizer", "critic_optimizer", "executor_optimizer")


class Trainer(Algorithm):
    """A policy, perhaps a critic, and an algorithm that improves them.

    Abstract: `REINFORCE`, `ActorCritic` and `PPO` say how advantages are estimated and
    what the policy's loss is. Build and compile it under a `tf.distribute` strategy's
    scope to train on several devices.

    Called on observations `[B, ...]`, it returns the greedy actions as the environment
    takes them; so `predict` does, too.

    Args:
        policy: A `kpg.models.Policy`.
        critic: A `kpg.models.Critic`, or `None` if the algorithm can do without.
        seed: Seed of all sampling. Defaults to a random one.
        executor: That of a `kpg.environments.ControlledGeneration`, if it shall learn,
            too: its loss is the policy's (for PPO the clipped surrogate, of its own
            ratios), on the same advantages, of the tokens that it chose and of their
            probabilities under the controls in force. A bonus on entropy, a reference
            and whatever follows a KL divergence are about the policy alone, and what
            the policy is shown of the executor counts as given: no gradient goes
            through it. Defaults to `None`: it stays as it is.
        **settings: Fields of the algorithm's settings.

    Attributes:
        settings: The frozen settings.
        reference: What the policy is kept near to, if `reference_kl_coef` is above 0.
        compile_seconds: Time that the last `fit` spent on building its graphs.
        train_seconds: Time that the last `fit` spent on training, without building,
            validation and callbacks.

    Raises:
        ValueError: If a setting is unknown or out of range, policy and critic are not
            for the same observations, or nothing of the executor can learn.
    """

    def __init__(
        self,
        policy: Policy,
        critic: Critic | None = None,
        seed: int | None = None,
        *,
        executor: Any = None,
        **settings: Any,
    ) -> None:
        super().__init__(policy, critic, seed, executor=executor, **settings)
        self.compile_seconds = 0.0
        self.train_seconds = 0.0
        self.uses_xla = False
        self._engine: Engine | None = None
        self._evaluators: dict[tuple[int, int, bool], Evaluator] = {}
        self._environments: list[tuple[Any, Environment]] = []

    def compile(
        self,
        optimizer: Any = None,
        steps_per_execution: int | str = "auto",
        jit_compile: bool | str = "auto",
        critic_optimizer: Any = None,
        executor_optimizer: Any = None,
    ) -> None:
        """Chooses the optimizer and how the graph is run.

        Args:
            optimizer: A Keras optimizer, or its name or configuration. Defaults to
                `Adam(3e-4, epsilon=1e-5)`.
            steps_per_execution: Iterations in one call of the compiled function. More
                of them cost less; callbacks see fewer batches. "auto" (the default)
                takes as many as a tenth of a second holds.
            jit_compile: Whether XLA compiles the graph. "auto" (the default) uses XLA
                from the `fit` on with which the iterations so far are enough to make up
                for the seconds that it compiles. Several replicas cannot talk to each
                other within XLA: they do without.
            critic_optimizer: As `optimizer`, for the critic alone. Gradients of policy
                and critic are then clipped apart. Defaults to `None`: one optimizer for
                both.
            executor_optimizer: As `optimizer`, for the executor, whose gradients are
                clipped apart as well. Given if, and only if, the trainer has one.
                Defaults to `None`.

        Raises:
            ValueError: If an argument is out of range, or does not go with the strategy
                or the settings.
        """
        if steps_per_execution != "auto":
            _check_count("steps_per_execution", steps_per_execution)
        replicas = self.distribute_strategy.num_replicas_in_sync
        if jit_compile not in (True, False, "auto") or (
            jit_compile is True and replicas > 1
        ):
            raise ValueError(
                "`jit_compile` must be True, False or 'auto', and not True under a "
                "strategy with several replicas, which XLA cannot compile. Received: "
                f"jit_compile={jit_compile!r}, {replicas} replicas"
            )
        with self.distribute_strategy.scope():
            if optimizer is None:
                optimizer = keras.optimizers.Adam(3e-4, epsilon=1e-5)
            optimizer = checked_optimizer(self, optimizer)
            critic_optimizer = checked_critic_optimizer(self, critic_optimizer)
            executor_optimizer = checked_executor_optimizer(self, executor_optimizer)
            super().compile(optimizer=optimizer, jit_compile=False)
            self.critic_optimizer = critic_optimizer
            self.executor_optimizer = executor_optimizer
            for own, variables in self.optimized_variables():
                own.build(variables)
        self.uses_xla = jit_compile is True
        self.iterations_per_call: int | None = None
        if isinstance(steps_per_execution, int):
            self.iterations_per_call = steps_per_execution
        self._jit_compile_argument = jit_compile
        self._planned = 0
        self._engine = None
        self._evaluators = {}

    def fit(
        self,
        env: Any,
        epochs: int = 1,
        steps_per_epoch: int = 100,
        validation_data: Any = None,
        validation_episodes: int = 100,
        validation_freq: int = 1,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: int | str = "auto",
        initial_epoch: int = 0,
    ) -> keras.callbacks.History:
        """Trains on an environment.

        A step is one iteration: `num_steps` steps of each of the `num_envs` copies, and
        the learning from them. A second `fit` on the same environment carries on with
        the episodes where the first stopped.

        Args:
            env: What `kpg.make` returns, a Gymnasium environment or vector environment,
                a functional environment, or a factory of one of them.
            epochs: Number of the last epoch. Defaults to 1.
            steps_per_epoch: Iterations in an epoch. Defaults to 100.
            validation_data: An environment to evaluate on, greedily and from the same
                initial states each time. Defaults to none.
            validation_episodes: Episodes of an evaluation. Defaults to 100.
            validation_freq: Epochs from one evaluation to the next. Defaults to 1.
            callbacks: Keras callbacks.
            verbose: 0 for silence, 1 for a progress bar, 2 for a line for each epoch.
                Defaults to "auto", which is 1.
            initial_epoch: Epoch at which to start. Defaults to 0.

        Returns:
            Keras's `History`. Its keys are `return` and `length` (means over the
            episodes that ended in the epoch, NaN if none did), `episodes`, `env_steps`
            (since the trainer was made), `steps_per_second`, the metrics of the
            updates, those of a reference (see `reference_kl_coef`),
            `explained_variance`, `learning_rate`, and `val_return`, `val_return_std`,
            `val_length` if there is validation.

        Raises:
            ValueError: If the environment does not fit, or observations or rewards of
                it are not finite; the weights are then as before that iteration.
        """
        if not self.compiled:
            raise ValueError(
                "Call `compile()` before `fit()`. Received: a trainer that is not "
                "compiled"
            )
        for name, count in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
            _check_count(name, count)
        environment = self._environment(env)
        self._choose_compiler(environment, (epochs - initial_epoch) * steps_per_epoch)
        engine = self._engine_for(environment)
        if self.reference is not None:
            self.reference.begin()
        validation = None
        if validation_data is not None:
            validation = self._environment(validation_data)
            self.check_environment(validation)
        callback_list = keras.callbacks.CallbackList(
            list(callbacks or ()),
            add_history=True,
            add_progbar=verbose != 0,
            verbose=1 if verbose == "auto" else verbose,
            epochs=epochs,
            steps=steps_per_epoch,
            model=self,
        )
        fitting = Fitting(self, engine, callback_list, epochs, steps_per_epoch)
        if validation is not None:
            fitting.validate_on(validation, validation_episodes, validation_freq)
        fitting.run(initial_epoch)
        return self.history

    def evaluate(
        self,
        env: Any,
        episodes: int = 100,
        deterministic: bool = True,
        seed: int | None = None,
    ) -> dict[str, Any]:
        """Plays whole episodes without learning.

        Every copy of the environment plays its share of the episodes, so that short
        episodes do not count more often than long ones.

        Args:
            env: As in `fit`.
            episodes: Number of episodes, ≥ 1. Defaults to 100.
            deterministic: Whether to take the most likely action instead of a sample.
                Defaults to `True`.
            seed: Seed of the initial states and the samples. Defaults to the
                environment's, so that two evaluations give the same result.

        Returns:
            `return`, `return_std` (over the episodes) and `length`, the number of
            `episodes`, and `returns`, a NumPy array `[episodes]`.

        Raises:
            ValueError: If the environment does not fit.
        """
        _check_count("episodes", episodes)
        environment = self._environment(env)
        self.check_environment(environment)
        key = (id(environment), episodes, deterministic)
        if key not in self._evaluators:
            self._evaluators[key] = evaluator_for(
                environment,
                self.policy,
                episodes,
                deterministic,
                self.uses_xla,
            )
        if seed is None:
            seed = self.entropy if environment.seed is None else environment.seed
        if self._engine is not None and self._engine.env is environment:
            self._engine.restart()  # its episodes are about to be broken off
        return self._evaluators[key].run(seed)

    def _environment(self, env: Any) -> Environment:
        """Returns the same `Environment` for the same object each time."""
        if isinstance(env, Environment):
            return env
        for known, environment in self._environments:
            if known is env:
                return environment
        environment = as_environment(env, seed=self.entropy)
        self._environments.append((env, environment))
        return environment

    def _choose_compiler(self, env: Environment, iterations: int) -> None:
        """Turns to XLA as soon as it pays off, unless `compile` was told otherwise."""
        self._planned += iterations
        replicas = self.distribute_strategy.num_replicas_in_sync
        decided = self._jit_compile_argument != "auto" or replicas > 1
        if decided or self.uses_xla or not pays_off(self, env, self._planned):
            return
        self.uses_xla = True
        self._evaluators = {}
        if self._engine is not None:
            self._engine.compile()

    def _engine_for(self, env: Environment) -> Engine:
        if self._engine is None or self._engine.env is not env:
            self.check_environment(env)
            with self.distribute_strategy.scope():
                self._engine = engine_for(self, env)
        return self._engine

    # Saving and loading.

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves models, settings, optimizer and counters; see `keras.Model.save`.

        The file is written aside and renamed, so that whatever happens there is always
        a whole one.
        """
        path = Path(filepath)
        if path.exists() and not overwrite:
            raise ValueError(
                f"The file exists; give another name or `overwrite=True`. "
                f"Received: filepath={str(path)!r}"
            )
        aside = path.with_name(f".{os.getpid()}-{path.name}")
        try:
            super().save(aside, **kwargs)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)

    def get_config(self) -> dict[str, Any]:
        """See `keras.Model.get_config`."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "policy": serialize(self.policy),
            "critic": self.critic and serialize(self.critic),
            "executor": self.executor and serialize(self.executor),
            "seed": self.seed,
            **dataclasses.asdict(self.settings),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Trainer:
        """See `keras.Model.from_config`."""
        config = dict(config)
        revive = keras.saving.deserialize_keras_object
        policy = config["policy"] = revive(config["policy"], custom_objects)
        critic = config["critic"]
        if critic is not None and critic["config"].get("trunk"):
            kind = keras.saving.get_registered_object(critic["registered_name"])
            config["critic"] = kind.from_config(critic["config"], trunk=policy)
        elif critic is not None:
            config["critic"] = revive(critic, custom_objects)
        if config.get("executor") is not None:
            config["executor"] = revive(config["executor"], custom_objects)
        return cls(**config)

    def get_compile_config(self) -> dict[str, Any]:
        """See `keras.Model.get_compile_config`."""
        if not self.compiled:
            return {}
        serialize = keras.saving.serialize_keras_object
        optimizers = {name: getattr(self, name) for name in _OPTIMIZERS}
        return {
            **{name: own and serialize(own) for name, own in optimizers.items()},
            "steps_per_execution": self.iterations_per_call or "auto",
            "jit_compile": self._jit_compile_argument,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """See `keras.Model.compile_from_config`."""
        revive = keras.saving.deserialize_keras_object
        optimizers = {
            name: config[name] and revive(config[name])
            for name in _OPTIMIZERS
            if name in config
        }
        self.compile(**{**config, **optimizers})


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"`{name}` must be a whole number of at least 1. Received: {name}={value!r}"
        )
