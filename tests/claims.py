"""What `docs/support.md` claims, as a table, and how to train on a row of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import gymnasium as gym
import keras
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import kpg
from kpg.environments import (
    ActionMaskFromInfo,
    Environment,
    GraphEnvironment,
    HostEnvironment,
    Probe,
    ProbeEnv,
)

ALGORITHMS = ("PPO", "ActorCritic", "REINFORCE")
MODES = ("in-graph", "NEXT_STEP", "SAME_STEP", "DISABLED")
LIMIT = 4  # no episode of the probes that act is longer

DICT = {"sign": "text", "place": ("image", "discrete")}
HYBRID = {"turn": "box", "press": ("discrete", "multi_binary")}


class Pair(NamedTuple):
    """A kind of observation with a kind of action, and what the policy is told.

    Attributes:
        observation: The row of the table, and the probe's kind.
        action: The same.
        masked: Whether choices are masked.
        memory: "gru", "lstm", "transformer" or none.
        options: Other options of the policy.
    """

    observation: tuple[str, Any]
    action: tuple[str, Any]
    masked: bool = False
    memory: str | None = None
    options: Mapping[str, Any] = MappingProxyType({})

    @property
    def kinds(self) -> set[str]:
        """The rows of the table that this pair covers."""
        covered = {self.observation[0], self.action[0]}
        covered |= {"action mask"} if self.masked else set()
        return covered | ({f"memory: {self.memory}"} if self.memory else set())

    @property
    def task(self) -> str:
        """The probe that needs all of it."""
        return "memory" if self.memory else "policy_of_state"


BOX = ("observation: Box", "box")
IMAGE = ("observation: image (uint8)", "image")
NUMBER = ("observation: Discrete", "discrete")
NUMBERS = ("observation: MultiDiscrete", "multi_discrete")
BITS = ("observation: MultiBinary", "multi_binary")
TEXT = ("observation: Text", "text")
CHOICE = ("action: Discrete", "discrete")
CHOICES = ("action: MultiDiscrete", "multi_discrete")
SWITCHES = ("action: MultiBinary", "multi_binary")
NORMAL = ("action: Box, normal", "box")
NORMAL_STD = ("action: Box, normal, state_dependent_std", "box")
TANH = ("action: Box, tanh_normal", "box")
BETA = ("action: Box, beta", "box")

PAIRS = {
    "box-discrete": Pair(BOX, CHOICE),
    "image-multi_discrete-masked": Pair(IMAGE, CHOICES, masked=True),
    "discrete-normal": Pair(NUMBER, NORMAL),
    "multi_discrete-std": Pair(
        NUMBERS, NORMAL_STD, options={"state_dependent_std": True}
    ),
    "multi_binary-tanh": Pair(BITS, TANH, options={"distribution": "tanh_normal"}),
    "text-beta": Pair(TEXT, BETA, options={"distribution": "beta"}),
    "dict-tuple": Pair(
        ("observation: Dict", DICT), ("action: Tuple", ("discrete", "box"))
    ),
    "tuple-dict-masked": Pair(
        ("observation: Tuple", ("box", "multi_binary")),
        ("action: Dict", HYBRID),
        masked=True,
        # A normal mean that has left the range of its Box early on stays there: all its
        # samples are clipped to the same action.
        options={"distribution": "tanh_normal"},
    ),
    "box-multi_binary-gru": Pair(BOX, SWITCHES, memory="gru"),
    "discrete-discrete-masked-lstm": Pair(NUMBER, CHOICE, masked=True, memory="lstm"),
    "box-discrete-transformer": Pair(BOX, CHOICE, memory="transformer"),
}
CASES = [
    (name, algorithm, mode)
    for name in PAIRS
    for algorithm in ALGORITHMS
    for mode in MODES
]


def claimed() -> set[tuple[str, str, str]]:
    """Returns every (kind, algorithm, mode) that some case covers."""
    return {
        (kind, algorithm, mode)
        for name, algorithm, mode in CASES
        for kind in PAIRS[name].kinds
    }


def make_environment(
    probe: Probe, mode: str, num_envs: int, limit: int = LIMIT
) -> Environment:
    """Makes copies of a probe, in the graph or on the host in an autoreset mode.

    On the host, masks come from the infos.
    """
    limit = probe.max_episode_steps or limit
    if mode == "in-graph":
        return GraphEnvironment(probe, num_envs, seed=0, max_episode_steps=limit)

    def single() -> gym.Env[Any, Any]:
        if probe.masked:
            return ActionMaskFromInfo(ProbeEnv(probe, mask_in_info=True))
        return ProbeEnv(probe)

    copies: list[Callable[[], gym.Env[Any, Any]]] = [single] * num_envs
    vector = SyncVectorEnv(copies, autoreset_mode=AutoresetMode[mode])
    env = HostEnvironment(vector, seed=0)
    env.spec = EnvSpec("KpgProbe-v0", max_episode_steps=limit)
    return env


def make_trainer(
    algorithm: str,
    env: Any,
    pair: Pair,
    *,
    units: int = 8,
    learning_rate: float = 0.01,
    compile_arguments: dict[str, Any] | None = None,
    critic: bool | None = None,
    seed: int = 0,
    **settings: Any,
) -> Any:
    """Makes a compiled trainer with the models that a pair asks for.

    REINFORCE has no critic unless it is asked for.
    """
    options: dict[str, Any] = {"hidden_units": (units,), "seed": seed}
    if pair.masked:
        options["action_mask"] = "action_mask"
    if pair.memory:
        options |= {"memory": pair.memory, "memory_units": units}
    space = env.observation_space
    policy = kpg.models.Policy(space, env.action_space, **options, **pair.options)
    wanted = algorithm != "REINFORCE" if critic is None else critic
    value = kpg.models.Critic(space, **options) if wanted else None
    trainer = getattr(kpg.trainers, algorithm)(policy, value, seed=seed, **settings)
    optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-5)
    trainer.compile(optimizer, **(compile_arguments or {}))
    return trainer


def played(probe: Probe, trainer: Any) -> tuple[float, Any]:
    """Returns the exact return of the greedy policy, and the critic's values `[N]`.

    All episodes are enumerated: every first state, and one step after another.
    """
    steps = probe._task.steps
    rows = [tf.constant(part) for part in probe.states.reshape(steps, -1)]
    observations = tf.nest.map_structure(
        lambda *leaves: tf.stack(leaves),
        *[probe.observation(states) for states in rows],
    )
    count, resets = len(rows[0]), tf.zeros([steps, len(rows[0])], tf.bool)
    policy, critic = trainer.policy, trainer.critic
    parameters, _ = policy.unroll(observations, policy.initial_state(count), resets)
    total = 0.0
    for states, row in zip(rows, parameters, strict=True):
        taken = policy.family.to_environment(policy.family.mode(row))
        total += probe.reward(states, taken, states).numpy().mean()
    if critic is None:
        return total, None
    values, _ = critic.unroll(observations, critic.initial_state(count), resets)
    return total, values.numpy().reshape(-1)
