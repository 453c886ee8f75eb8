"""Who does the work: kpg's exported program, rejax, the compact PPO; needs JAX.

Each is an iteration, or any number of them in one call, as one compiled program.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from compact_ppo import CompactPPO
from works import Control, Text, describe, read


class Contender(ABC):
    """A program with a state; `lower`, then `compile`, then `run`."""

    program: Any = None
    state: Any = None

    @abstractmethod
    def lower(self, sharding: Any = None) -> Any:
        """Returns the lowered program, for a sharding's device if there is one."""

    def compile(self) -> None:
        """Compiles for JAX's device."""
        self.program = self.lower().compile()

    @abstractmethod
    def run(self, count: int) -> float | None:
        """Runs iterations to their end.

        Returns the mean return of the episodes that ended, or the tokens written.
        """

    def like(self, state: Any, sharding: Any) -> Any:
        """Returns what stands for a state while a program is lowered."""
        if sharding is None:
            return state
        return jax.tree.map(
            lambda part: jax.ShapeDtypeStruct(
                jnp.shape(part), jnp.result_type(part), sharding=sharding
            ),
            state,
        )


class Exported(Contender):
    """kpg's iteration as TensorFlow compiles it, run by PJRT."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.program.xz"
        self.about = describe(folder / f"{name}.json")
        self.arrays = np.load(folder / f"{name}.npz")
        self.feedback = {int(o): i for o, i in self.about["feedback"].items()}
        self.calls = 0

    def lower(self, sharding: Any = None) -> Any:
        with jax.enable_x64(True):
            exported = jax.export.deserialize(bytearray(read(self.path)))
            if sharding is None:
                self.state = [jnp.asarray(part) for part in self.parts()]
                state = self.state
            else:
                state = self.like(self.shapes(), sharding)
            # Only texts take so much memory that it matters.
            donated = tuple(self.feedback.values()) if self.about["drawn"] else ()
            jitted = jax.jit(exported.call, keep_unused=True, donate_argnums=donated)
            return jitted.lower(*state)

    def shapes(self) -> list[Any]:
        """Returns the shapes of the parameters."""
        drawn = self.about["drawn"]
        return [
            jax.ShapeDtypeStruct(tuple(drawn[str(i)][0]), np.float32)
            if str(i) in drawn
            else jax.ShapeDtypeStruct(self.arrays[key].shape, self.arrays[key].dtype)
            for i, key in enumerate(sorted(self.arrays.files))
        ]

    def parts(self) -> list[Any]:
        """Returns the parameters before the first iteration."""
        rng, drawn = np.random.default_rng(0), self.about["drawn"]
        parts = []
        for index, key in enumerate(sorted(self.arrays.files)):
            if str(index) in drawn:
                shape, deviation = drawn[str(index)]
                part = rng.standard_normal(shape, np.float32) if deviation else None
                parts += [np.zeros(shape, np.float32) if part is None else part]
                parts[-1] *= np.float32(deviation)
            else:
                parts += [self.arrays[key]]
        return parts

    def run(self, count: int) -> float | None:
        if "iterations" not in self.about:
            return self.run_texts(count)
        with jax.enable_x64(True):
            state, where = list(self.state), self.about["iterations"]
            state[where] = jnp.asarray(count, jnp.int32)
            state[self.about["total"]] = jnp.asarray(count, jnp.float32)
            outputs = self.program(*state)
            self.feed_back(outputs)
            sums = np.asarray(outputs[self.about["carried"]])  # waits for the device
        returns, _, number = sums[-3:].tolist()
        return returns / number if number else None

    def run_texts(self, count: int) -> float | None:
        """Writes or learns `count` times; every call writes other texts."""
        written = None
        with jax.enable_x64(True):
            for _ in range(count):
                self.calls += 1
                state = list(self.state)
                if "seed" in self.about:
                    seed = jnp.asarray([0, self.calls], jnp.int32)
                    state[self.about["seed"]] = seed
                outputs = jax.block_until_ready(self.program(*state))
                self.feed_back(outputs)
            masks = [part for part in outputs if part.dtype == jnp.bool_]
            if "seed" in self.about and masks:
                written = float(masks[0].sum())
        return written

    def feed_back(self, outputs: Any) -> None:
        """Puts outputs where the next call looks for them."""
        for output, parameter in self.feedback.items():
            self.state[parameter] = outputs[output]


class Rejax(Contender):
    """rejax's `train_iteration`, any number of them in one program."""

    def __init__(self, work: Control) -> None:
        from rejax import PPO
        from rejax.evaluate import evaluate

        def play(state: Any, key: Any) -> Any:
            act, parameters = self.algorithm.make_act(state), self.algorithm.env_params
            limit = parameters.max_steps_in_episode
            return evaluate(act, key, self.algorithm.env, parameters, 128, limit)[
                1
            ].mean()

        self.play = jax.jit(play)
        self.algorithm = PPO.create(
            env=work.env,
            num_envs=work.num_envs,
            num_steps=work.num_steps,
            num_epochs=work.num_epochs,
            num_minibatches=work.num_minibatches,
            learning_rate=work.learning_rate,
            gamma=work.gamma,
            gae_lambda=work.gae_lambda,
            clip_eps=work.clip_range,
            ent_coef=work.ent_coef,
            max_grad_norm=work.max_grad_norm,
            normalize_observations=work.normalize,
            normalize_rewards=work.normalize,
            total_timesteps=work.rows,
            eval_freq=work.rows,
            agent_kwargs={
                "activation": "tanh",
                "hidden_layer_sizes": work.hidden_units,
            },
        )

    def lower(self, sharding: Any = None) -> Any:
        algorithm = self.algorithm

        def iterations(state: Any, count: Any) -> Any:
            def one(_: Any, state: Any) -> Any:
                return algorithm.train_iteration(state)

            return jax.lax.fori_loop(0, count, one, state)

        # Its first state holds Python's integers, where later ones hold arrays.
        start = jax.jit(algorithm.init_state)(jax.random.PRNGKey(0))
        after = jax.eval_shape(algorithm.train_iteration, start)
        self.state = jax.tree.map(
            lambda part, one: jnp.asarray(part, one.dtype), start, after
        )
        state, count = self.like((self.state, jnp.int32(1)), sharding)
        return jax.jit(iterations).lower(state, count)

    def run(self, count: int) -> float | None:
        self.state = self.program(self.state, jnp.int32(count))
        np.asarray(jax.block_until_ready(self.state).global_step)
        return None

    def mean_return(self) -> float:
        """Returns the mean return of 128 episodes of the present policy."""
        return float(self.play(self.state, jax.random.PRNGKey(1)))


class Compact(Contender):
    """The compact PPO beside this file."""

    def __init__(self, work: Control) -> None:
        self.ppo = CompactPPO(work)

    def lower(self, sharding: Any = None) -> Any:
        self.state = jax.jit(self.ppo.start)(jax.random.PRNGKey(0))
        state, count = self.like((self.state, jnp.int32(1)), sharding)
        return jax.jit(self.ppo.iterations).lower(state, count)

    def run(self, count: int) -> float | None:
        self.state = self.program(self.state, jnp.int32(count))
        returns, number = np.asarray(self.state.sums).tolist()
        return returns / number if number else None


def contenders(
    name: str, work: Control | Text, folders: dict[str, Path]
) -> dict[str, Contender]:
    """Returns who can do a work: kpg's exports, given by label, and the others."""
    found: dict[str, Contender] = {
        label: Exported(folder, name)
        for label, folder in folders.items()
        if (folder / f"{name}.program.xz").is_file()
    }
    if isinstance(work, Control):
        found["rejax"] = Rejax(work)
        found["compact PPO"] = Compact(work)
    return found
