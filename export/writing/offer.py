"""What an exported policy offers: its signatures, and what they need."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import tensorflow as tf

from kpg import imports
from kpg.export.writing.signature import Arrays, Signature, Tensors
from kpg.types import Config, Nest

if TYPE_CHECKING:
    from kpg.models.critic import Critic
    from kpg.models.policy import Policy

# Builds the offer of a policy that does not name a builder of its own.
_DEFAULT = "kpg.export.writing.policy_signatures:offer"


class Source(NamedTuple):
    """What is exported.

    Attributes:
        policy: The live policy.
        critic: The live critic, or None.
        settings: The trainer's settings, or None.
    """

    policy: Policy
    critic: Critic | None
    settings: object


@dataclasses.dataclass(frozen=True)
class Offer:
    """The signatures of one policy, and what writing and checking them takes.

    Args:
        signatures: By name.
        inputs: The inputs of all signatures, which users' functions can take too.
        parameters: The parameters that users' functions can have, each with the inputs
            that it is made of.
        arguments: Turns tensors of some inputs into values of all parameters that can
            be made of them.
        examples: Makes plausible arrays for all inputs, given a number of rows; always
            the same ones.
        saved: The variables, and the owners of lookup tables.
        spaces: The observation and the action space as plain data, for the manifest.
        settings: What the signatures were made with, for the manifest.
        verified_batch_sizes: Numbers of rows to verify with.
        warm_batch_sizes: Numbers of rows to warm up with.
    """

    signatures: dict[str, Signature]
    inputs: Mapping[str, tf.TensorSpec]
    parameters: Mapping[str, Sequence[str]]
    arguments: Callable[[Tensors], dict[str, Nest]]
    examples: Callable[[int], Arrays]
    saved: Sequence[object]
    spaces: Config
    settings: Config
    verified_batch_sizes: Sequence[int]
    warm_batch_sizes: Sequence[int]

    def requests(self, batch_sizes: Sequence[int]) -> list[tuple[str, Arrays]]:
        """Makes one request to each signature for each number of rows."""
        return [
            (name, {key: arrays[key] for key in signature.inputs})
            for arrays in map(self.examples, batch_sizes)
            for name, signature in self.signatures.items()
        ]

    def live(self, name: str, inputs: Arrays) -> Arrays:
        """Returns the outputs of the live models, which an export must reproduce."""
        return self.signatures[name].run(inputs)

    def module(self) -> tf.Module:
        """Returns the owner of everything that must be saved."""
        module = tf.Module()
        module.saved = list(self.saved)
        return module


Builder: TypeAlias = Callable[[Source, "int | None"], Offer]


def offer_of(trainer_or_policy: object, max_new_tokens: int | None) -> Offer:
    """Returns what a policy offers.

    The kind of policy decides: `policy.exporter`, if there is one, names a `Builder` as
    "module:function".

    Args:
        trainer_or_policy: A trainer with `policy` and perhaps `critic`, or a policy.
        max_new_tokens: Passed on to the builder.

    Raises:
        ValueError: If it is neither, or the builder refuses it.
    """
    policy = cast("Policy", getattr(trainer_or_policy, "policy", trainer_or_policy))
    for name in ("family", "observation_space"):
        if not hasattr(policy, name):
            raise ValueError(
                "What to export must be a trainer or a kpg.models.Policy. "
                f"Received: {type(trainer_or_policy).__name__}"
            )
    critic = getattr(trainer_or_policy, "critic", None)
    settings = getattr(trainer_or_policy, "settings", None)
    build = cast(Builder, imports.named(getattr(policy, "exporter", _DEFAULT)))
    return build(Source(policy, critic, settings), max_new_tokens)
