"""The base of all trainers: a Keras model that learns by acting."""

from __future__ import annotations

import dataclasses
import functools
import random as python_random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Never, override

from kpg import checks, contracts
from kpg.environments.environment import Environment
from kpg.environments.partner import Partner
from kpg.graph import random
from kpg.models.critic import Critic
from kpg.models.normalization import RunningNormalization
from kpg.models.policy import Policy
from kpg.trainers.algorithm import Algorithm
from kpg.trainers.learning.reference import Reference
from kpg.trainers.learning.replicas import workers_of
from kpg.trainers.learning.soundness import ON_NONFINITE
from kpg.trainers.learning.training import Optimized, Training
from kpg.trainers.running.agreement import DEADLINE
from kpg.trainers.running.compilation import checked_jit_compile
from kpg.trainers.running.elsewhere import Elsewhere, refuse_others
from kpg.trainers.running.fitting import Callbacks, Fitting, callback_list, logs_of
from kpg.trainers.running.inputs import Inputs
from kpg.trainers.running.parts import (
    Identifier,
    check_distinct,
    check_models,
    checked_critic_optimizer,
    checked_executor_optimizer,
    checked_optimizer,
    scaling,
    uses_half_precision,
)
from kpg.trainers.running.programs import Environments, Programs, partner_of
from kpg.trainers.running.saving import SavedTrainer
from kpg.trainers.running.strategies import check_scope, check_strategy
from kpg.trainers.settings import TrainerSettings
from kpg.types import Array, Config, Nest

# Makes the seed of evaluations out of that of an environment; no iteration has it.
_EVALUATION = 2**32 - 1


class Trainer(Algorithm, SavedTrainer):
    """A policy, perhaps a critic, and an algorithm that improves them.

    Abstract: to write an algorithm, derive from it as `kpg.trainers.Algorithm` says.
    Make and compile it in a `tf.distribute` strategy's scope to use several devices.
    Called on observations `[B, ...]`, it returns the greedy actions as the environment
    takes them; so does `predict`.

    Args:
        policy: A `kpg.models.Policy`.
        critic: A `kpg.models.Critic`, or `None` if the algorithm allows it.
        seed: Seed of all sampling. Defaults to a random one, which follows
            `keras.utils.set_random_seed`.
        executor: The executor of a `kpg.environments.ControlledGeneration`, to train it
            too. Its loss is the policy's (PPO's clipped surrogate with its own ratios),
            on the same advantages, of the tokens that it chose and their probabilities
            under the controls in force. Entropy bonus, reference and adaptation to a KL
            divergence concern the policy alone, and no gradient flows through what the
            policy sees of the executor. Defaults to `None`: it stays as it is.
        name: Name of the Keras model. Defaults to one after the class.
        **settings: Fields of the algorithm's settings.

    Attributes:
        settings: The frozen settings.
        reference: What the policy is kept near to, or `None`.
        effective_seed: `seed`, or the random one in its place.
        compile_seconds: What the last `fit` took to build its graphs.
        train_seconds: What it took to train, without validation.

    Raises:
        ValueError: If a setting is unknown or out of range, policy and critic take
            different observations, or all weights of the executor are frozen.
    """

    settings_class: ClassVar[type[TrainerSettings]] = TrainerSettings
    critic_is_optional: ClassVar[bool] = False

    # The names that other libraries have for what is done otherwise here.
    learn = Elsewhere("trainer.fit(env, epochs=…, steps_per_epoch=…)")
    train = Elsewhere("trainer.fit(env, epochs=…, steps_per_epoch=…)")
    load = Elsewhere("kpg.load('trainer.keras')")
    set_env = Elsewhere("trainer.fit(env)")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        contracts.check_settings(cls.settings_class, TrainerSettings)

    def __init__(
        self,
        policy: Policy,
        critic: Critic | None = None,
        seed: int | None = None,
        *,
        executor: keras.Model | None = None,
        name: str | None = None,
        **settings: object,
    ) -> None:
        super().__init__(name=name)
        optional = self.critic_is_optional
        check_models(type(self).__name__, policy, critic, executor, optional)
        check_strategy(self.distribute_strategy)
        models = {"policy": policy, "critic": critic, "executor": executor}
        for each, model in models.items():
            if model is not None:
                self._check_scope(model.variables, f"{each} = …", "trainer = …")
        self._inputs: Inputs | None = None
        self.settings = self.settings_class.make(settings)
        self._said = frozenset(settings)
        self.policy = policy
        self.critic = critic
        self.executor = executor
        self.seed = seed = checks.seed(seed)
        # Keras's own layers draw from this generator, too, if they have no seed.
        seed = python_random.getrandbits(31) if seed is None else seed
        self.effective_seed = seed & 0x7FFFFFFF
        self.return_moments = RunningNormalization(())
        self.reference: Reference | None = None
        if self.settings.reference is not None:
            self.reference = Reference(policy, self.settings.reference)
        count = functools.partial(
            self.add_weight, (), "zeros", "int64", trainable=False
        )
        self.iteration = count(name="iteration")
        self.env_steps_counter = count(name="env_steps")
        self.critic_optimizer: keras.optimizers.Optimizer | None = None
        self.executor_optimizer: keras.optimizers.Optimizer | None = None
        self.compile_seconds = self.train_seconds = 0.0
        self._on_nonfinite = ON_NONFINITE[0]
        self._programs = Programs(self.distribute_strategy, False, None)
        self._environments = Environments()
        self.add_state()
        self.built = True  # its models are

    if TYPE_CHECKING:
        settings: TrainerSettings  # of an algorithm, its own ones
    else:

        @property
        def settings(self) -> TrainerSettings:
            """The frozen settings; in a graph, some of them may be inputs of it."""
            if self._inputs is None or tf.executing_eagerly():
                return self._settings
            return self._inputs.within(self._settings)

        @settings.setter
        def settings(self, settings: TrainerSettings) -> None:
            self._settings = settings

    def take_numbers(self, inputs: Inputs) -> None:
        """Lets programs that are built from now on take numbers as inputs."""
        self._inputs = inputs
        kl = inputs.within(self.settings).reference
        if self.reference is not None and kl is not None:
            self.reference.kl = kl

    def _check_scope(
        self, variables: Sequence[keras.Variable], made: str, used: str
    ) -> None:
        """See `check_scope`."""
        check_scope(self.distribute_strategy, variables, made, used)

    def optimized_variables(self) -> list[Optimized]:
        """Returns each optimizer with its variables, in the order of the gradients.

        The policy's optimizer also learns trainable weights that the algorithm added,
        and the critic's unless it has its own optimizer.
        """
        policy = list(self.policy.trainable_variables)
        critic = _others(self.critic, policy)  # without a shared trunk
        executor = _others(self.executor, [*policy, *critic])
        own = _others(self, [*policy, *critic, *executor])
        if self.critic_optimizer is None:
            pairs = [(self.optimizer, [*policy, *critic, *own])]
        else:
            pairs = [(self.optimizer, [*policy, *own]), (self.critic_optimizer, critic)]
        if self.executor_optimizer is not None:
            pairs.append((self.executor_optimizer, executor))
        return pairs

    def learned_variables(self) -> list[keras.Variable]:
        """Returns all trainable variables, each once."""
        return [v for _, variables in self.optimized_variables() for v in variables]

    def training_on(
        self,
        num_envs: int,
        partner: Partner | None = None,
        group_size: int | None = None,
    ) -> Training:
        """Returns what learning needs, for all replicas' environments and a partner."""
        return Training(
            algorithm=self,
            policy=self.policy,
            critic=self.critic,
            optimized=self.optimized_variables(),
            strategy=self.distribute_strategy,
            return_moments=self.return_moments,
            seed=self.effective_seed,
            iteration=self.iteration,
            env_steps=self.env_steps_counter,
            num_envs=num_envs,
            reference=self.reference,
            partner=partner,
            group_size=group_size,
            worker_deadline=self._programs.worker_deadline,
            on_nonfinite=self._on_nonfinite,
        )

    @property
    def is_chief(self) -> bool:
        """Whether this is the only worker of its strategy, or the one that writes."""
        return workers_of(self.distribute_strategy)[0] == 0

    @property
    def env_steps(self) -> int:
        """Environment steps since the trainer was made."""
        return int(tf.convert_to_tensor(self.env_steps_counter))

    @property
    def function(self) -> tf.types.experimental.PolymorphicFunction | None:
        """The compiled function of the last `fit` that holds the update, or `None`."""
        engine = self._programs.engine
        return None if engine is None else engine.function

    @property
    def uses_xla(self) -> bool:
        """Whether XLA compiles the programs."""
        return self._programs.uses_xla

    @override
    def check_environment(self, env: Environment) -> None:
        """Raises a `ValueError` if its spaces are not the policy's."""
        for kind in ("observation_space", "action_space"):
            wanted, given = getattr(self.policy, kind), getattr(env, kind)
            if given is not None and wanted != given:
                raise ValueError(
                    f"The environment's {kind} is not the one that the policy was made "
                    f"for; make a Policy with this environment's spaces. Received: "
                    f"{given}, but the policy has {wanted}"
                )

    def _take_length(self, env: Environment) -> None:
        """Takes the sizes that were not said from an environment of whole episodes."""
        own, steps = self.settings, env.episode_steps
        if steps is None:
            return
        sizes: Config = {
            "num_steps": own.num_steps if "num_steps" in self._said else steps
        }
        largest = getattr(type(own), "minibatch_size", None)
        if largest is not None and "minibatch_size" not in self._said:
            rows = sizes["num_steps"] * self.distribute_strategy.num_replicas_in_sync
            counts = [n for n in range(1, env.num_envs + 1) if env.num_envs % n == 0]
            fits = [rows * n for n in counts if rows * n <= largest]
            sizes["minibatch_size"] = max(fits, default=rows)
        self.settings = dataclasses.replace(own, **sizes)

    def set_reference(self, policy: Policy | None = None) -> None:
        """Copies a policy as the reference of `reference=KL(…)`.

        Otherwise the first `fit` copies the policy as it begins. Call it from a
        callback to let the reference follow. `policy`, by default the one that is
        trained, must have the same layers; a `ValueError` says if not, or if there is
        no reference.
        """
        if self.reference is None:
            self.settings.refuse("reference", "must be a `kpg.trainers.KL`")
        else:
            self.reference.choose(self.policy if policy is None else policy)

    @override
    def call(self, observations: Nest, training: bool = False) -> Nest:
        """Returns greedy actions for `[B, ...]` observations, as if episodes began."""
        return self.policy.family.to_environment(self.policy.mode(observations))

    def act(
        self,
        observations: Nest,
        state: tuple[Array, ...] | None = None,
        deterministic: bool = True,
        seed: int | None = None,
    ) -> Any:
        """Chooses the policy's actions by hand; see `kpg.models.Policy.act`."""
        return self.policy.act(observations, state, deterministic, seed)

    @override
    def compile(
        self,
        optimizer: Identifier | None = None,
        steps_per_execution: int | str = "auto",
        jit_compile: bool | str = "auto",
        critic_optimizer: Identifier | None = None,
        executor_optimizer: Identifier | None = None,
        auto_scale_loss: bool = True,
        worker_deadline: float | None = DEADLINE,
        on_nonfinite: str = "raise",
        **others: Never,
    ) -> None:
        """Chooses optimizers and how graphs run.

        Args:
            optimizer: A Keras optimizer, its name or its configuration. Defaults to
                `Adam(3e-4, epsilon=1e-5)`.
            steps_per_execution: Iterations per call of the compiled function. More are
                faster; callbacks see fewer batches. "auto" (the default) takes as many
                as fit in a tenth of a second.
            jit_compile: Whether XLA compiles the graph. "auto" (the default) turns it
                on once the iterations of all `fit`s make up for the seconds of
                compiling. XLA cannot connect several replicas, which do without.
            critic_optimizer: One for the critic alone, whose gradients are then clipped
                separately; Keras's callbacks set the rate of `optimizer` alone.
                Defaults to `None`: one for both.
            executor_optimizer: The same for the executor; given if and only if the
                trainer has one. Defaults to `None`.
            auto_scale_loss: Whether optimizers become `LossScaleOptimizer`s if a layer
                has the policy "mixed_float16", so that no gradient vanishes. Defaults
                to `True`.
            worker_deadline: Seconds > 0 that the workers of a
                `MultiWorkerMirroredStrategy` wait for each other before they end with
                an error; `None` is for ever. Defaults to 60.
            on_nonfinite: What happens where a loss, or the norm of a gradient, is inf
                or nan in float32. The step is never taken. "raise" (the default) ends
                `fit` with an error that names the loss or weight; "skip" goes on with
                the next minibatch and logs `skipped_updates`, their number. What a
                `LossScaleOptimizer` scaled too much, it skips itself, in both cases.
            **others: Refused: what `keras.Model.compile` has and a trainer does not.

        Raises:
            ValueError: If an argument is out of range or does not fit the settings.
        """
        refuse_others("compile", others, Trainer.compile)
        per_call = None
        if steps_per_execution != "auto":
            per_call = checks.whole_number("steps_per_execution", steps_per_execution)
        jit_compile = checked_jit_compile(jit_compile, self.distribute_strategy)
        if worker_deadline is not None:
            worker_deadline = checks.positive("worker_deadline", worker_deadline)
        checks.choice("on_nonfinite", on_nonfinite, ON_NONFINITE)
        used = "trainer.compile(…)"
        self._check_scope(self.variables, "trainer = …", used)
        schedule = self.settings.learning_rate_schedule
        with self.distribute_strategy.scope():
            if optimizer is None:
                optimizer = keras.optimizers.Adam(3e-4, epsilon=1e-5)
            optimizer = checked_optimizer(optimizer, schedule)
            own = checked_critic_optimizer(
                critic_optimizer, self.policy, self.critic, schedule
            )
            learned = checked_executor_optimizer(
                executor_optimizer, self.executor, schedule
            )
            check_distinct((optimizer, own, learned))
            for each in filter(None, (optimizer, own, learned)):
                made = f"keras.optimizers.{type(each).__name__}(…)"
                variables: list[keras.Variable] = getattr(each, "variables", [])
                self._check_scope(variables, made, used)
            if auto_scale_loss and uses_half_precision(self):
                optimizer, own, learned = map(scaling, (optimizer, own, learned))
            super().compile(optimizer, jit_compile=False, auto_scale_loss=False)
            self.critic_optimizer, self.executor_optimizer = own, learned
            self._auto_scale_loss = auto_scale_loss
            self._on_nonfinite = on_nonfinite
            for each, variables in self.optimized_variables():
                if not each.built:
                    each.build(variables)
        self._programs = Programs(
            self.distribute_strategy, jit_compile, per_call, worker_deadline
        )
        self._programs.compiled = self.optimized_variables()

    @override
    def fit(
        self,
        env: object,
        epochs: int = 1,
        steps_per_epoch: int = 100,
        validation_data: object = None,
        validation_episodes: int = 100,
        validation_freq: int | Sequence[int] = 1,
        callbacks: Callbacks = None,
        verbose: int | str = "auto",
        initial_epoch: int = 0,
        validation_max_steps: int | None = None,
        real_steps: bool = False,
        **others: Never,
    ) -> keras.callbacks.History:
        """Trains on an environment.

        A step is one iteration: `num_steps` steps of each of `num_envs` copies, and
        learning from them. Another `fit` on the environment continues its episodes.
        New ones begin, by a seed of the iteration's own, after another environment,
        `compile`, loading or an error, and where somebody else has played on the host
        environment: an evaluation, another trainer or your own code. An evaluation in
        the graph interrupts nothing.

        Args:
            env: What `kpg.make` returns, a Gymnasium environment or vector environment,
                a functional environment, or a factory of one of them.
            epochs: Number of the last epoch. Defaults to 1.
            steps_per_epoch: Iterations in an epoch. Defaults to 100.
            validation_data: An environment to evaluate on, greedily and from the same
                initial states each time. Defaults to none.
            validation_episodes: Episodes of an evaluation. Defaults to 100.
            validation_freq: Epochs between evaluations, or the epochs, counted from 1,
                that end with one. Defaults to 1.
            callbacks: A Keras callback, a sequence of them, or a `CallbackList`.
            verbose: 0 is silent, 1 (and "auto", the default) a progress bar, 2 a line
                per epoch.
            initial_epoch: Epoch at which to start. Defaults to 0.
            validation_max_steps: `max_steps` of `evaluate`. Defaults to `None`.
            real_steps: Whether further iterations make up for rows of NEXT_STEP
                autoreset that only reset an environment, so that all epochs together
                take as many steps as their iterations have rows, up to the last
                iteration. Defaults to `False`.
            **others: Refused: names of `keras.Model.fit` and of other libraries.

        Returns:
            Keras's `History`: `return` and `length` (means over the episodes that ended
            in the epoch, NaN if none did), `episodes`, `env_steps` (since the trainer
            was made), `steps_per_second`, `learning_rate`, the metrics of updates,
            algorithm and reference, `explained_variance`, and with validation
            `val_return`, `val_return_std` and `val_length`. An algorithm that learns
            from whole episodes counts only those it learned from, and also logs
            `valid_fraction`, the share of collected rows that belong to them.

        Raises:
            ValueError: If the environment does not fit, or gives values that are not
                finite; the weights are then as before that iteration, whose steps do
                not count. If a loss or gradient is not finite; see `compile`.
        """
        refuse_others("fit", others, Trainer.fit)
        if not self.compiled:
            raise ValueError(
                "Call `compile()` before `fit()`. Received: a trainer that is not "
                "compiled"
            )
        environment = self._environments.get(env)
        epochs = checks.whole_number("epochs", epochs)
        steps_per_epoch = checks.whole_number("steps_per_epoch", steps_per_epoch)
        initial_epoch = checks.whole_number("initial_epoch", initial_epoch, 0)
        epochs = _capped(epochs, "max_epochs")
        steps_per_epoch = _capped(steps_per_epoch, "max_steps_per_epoch")
        for each in np.ravel(validation_freq).tolist():
            checks.whole_number("validation_freq", each)
        self._check_scope(self.variables, "trainer = …", "trainer.fit(…)")
        self._take_length(environment)
        self.check_environment(environment)
        partner = partner_of(environment, self.executor)
        training = self.training_on(
            environment.num_envs, partner, environment.group_size
        )
        iterations = (epochs - initial_epoch) * steps_per_epoch
        self._programs.plan(training, environment, iterations)
        engine = self._programs.engine_for(training, environment)
        if self.reference is not None:
            self.reference.begin()
        validate = self._validation(
            validation_data, validation_episodes, validation_max_steps
        )
        self.compile_seconds = self.train_seconds = 0.0
        Fitting(
            engine,
            self,
            epochs,
            steps_per_epoch,
            self._programs.iterations_per_call,
            callbacks,
            verbose,
            validate,
            validation_freq,
            self._programs.finalize,
            checks.flag("real_steps", real_steps),
        ).run(initial_epoch)
        return self.history

    def _validation(
        self, data: object, episodes: int, max_steps: int | None
    ) -> Callable[[keras.callbacks.CallbackList], dict[str, Any]] | None:
        """Returns what evaluates between epochs, if there is an environment for it."""
        if data is None:
            if max_steps is not None:
                wanted = "has no effect without validation_data; omit it"
                checks.refuse("validation_max_steps", wanted, max_steps)
            return None
        env = self._environments.get(data)
        # Not that of the algorithm: what only validates need not fit how it learns.
        Trainer.check_environment(self, env)
        return lambda callbacks: self.evaluate(
            env, episodes, callbacks=callbacks, max_steps=max_steps
        )

    @override
    def evaluate(
        self,
        env: object,
        episodes: int = 100,
        deterministic: bool = True,
        seed: int | None = None,
        verbose: int | str = 0,
        callbacks: Callbacks = None,
        max_steps: int | None = None,
        **others: Never,
    ) -> dict[str, Any]:
        """Plays whole episodes without learning.

        Each copy of the environment plays its share, so that short episodes do not
        count more often than long ones. Ctrl-C stops it within moments.

        Args:
            env: As in `fit`; a `ValueError` says if it does not fit.
            episodes: Number of episodes, ≥ 1. Defaults to 100.
            deterministic: Whether to take the most likely action instead of a sample.
                Defaults to `True`.
            seed: Of initial states and samples. Defaults to one that follows from the
                environment's: two evaluations agree, and play other episodes than
                training.
            verbose: 1 prints a progress bar and 2 a line, as in Keras. Defaults to 0.
            callbacks: As in `fit`; to them, the evaluation is one batch.
            max_steps: Steps after which an episode is cut, ≥ 1, and counts with its
                return so far. Defaults to `None`: if no time limit ends it, it is cut
                after 10,000, and a `UserWarning` says how many episodes were.
            **others: Refused: names of `keras.Model.evaluate` and of other libraries.

        Returns:
            `return`, `return_std` (over the episodes), `length`, the number of
            `episodes` and of those that were `cut`, and `returns`, a NumPy array
            `[episodes]`.
        """
        refuse_others("evaluate", others, Trainer.evaluate)
        episodes = checks.whole_number("episodes", episodes)
        if max_steps is not None:
            max_steps = checks.whole_number("max_steps", max_steps)
        listed = callback_list(callbacks, self, verbose, 1, 1, add_history=False)
        environment = self._environments.get(env)
        Trainer.check_environment(self, environment)
        evaluator = self._programs.evaluator_for(
            self.policy, environment, episodes, deterministic
        )
        if seed is None:
            seed = self.effective_seed if environment.seed is None else environment.seed
            seed = random.fold_in(seed, _EVALUATION)
        listed.on_test_begin()
        listed.on_test_batch_begin(0)
        result = evaluator.run(checks.seed(seed) or 0, max_steps)
        listed.on_test_batch_end(0, logs_of(result))
        listed.on_test_end(logs_of(result))
        return result

    def compute_loss(self, *arguments: object, **options: object) -> NoReturn:
        """Refuses `train_on_batch` and `test_on_batch`; see `keras.Model`."""
        raise ValueError(
            "A trainer learns from an environment and has no loss on given data; call "
            "`fit(env)` or `evaluate(env)`. Received: a batch"
        )


def _others(
    model: keras.Model | None, known: Sequence[keras.Variable]
) -> list[keras.Variable]:
    """Returns a model's trainable variables that are not known already."""
    ids = {id(variable) for variable in known}
    variables = [] if model is None else model.trainable_variables
    return [variable for variable in variables if id(variable) not in ids]


def _capped(count: int, limit: str) -> int:
    """Returns a count, or less if `keras.config` limits it for a quick trial."""
    longest: int | None = getattr(keras.config, limit, lambda: None)()
    return count if longest is None else min(count, longest)
