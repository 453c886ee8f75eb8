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
    """A live policy to export, with its critic and its trainer's settings, if any."""

    policy: Policy
    critic: Critic | None
    settings: object


@dataclasses.dataclass(frozen=True)
class Offer:
    """The signatures of one policy, and what writing and checking them takes."""

    signatures: dict[str, Signature]
    inputs: Mapping[str, tf.TensorSpec]  # of all signatures
    parameters: Mapping[str, Sequence[str]]  # of users' functions: the inputs of each
    arguments: Callable[[Tensors], dict[str, Nest]]  # parameters from some inputs
    examples: Callable[[int], Arrays]  # plausible inputs, always the same ones
    saved: Sequence[object]  # the variables, and the owners of lookup tables
    policy: Policy
    settings: Config  # for the manifest
    verified_batch_sizes: Sequence[int]  # numbers of rows
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
    """Returns the offer of a policy; its `exporter` names a builder of its own."""
    policy = cast("Policy", getattr(trainer_or_policy, "policy", trainer_or_policy))
    if not (hasattr(policy, "family") and hasattr(policy, "observation_space")):
        raise ValueError(
            "What to export must be a trainer or a kpg.models.Policy. "
            f"Received: {type(trainer_or_policy).__name__}"
        )
    critic = getattr(trainer_or_policy, "critic", None)
    settings = getattr(trainer_or_policy, "settings", None)
    build = cast(Builder, imports.named(getattr(policy, "exporter", _DEFAULT)))
    return build(Source(policy, critic, settings), max_new_tokens)
