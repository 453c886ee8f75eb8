"""Greedy actions in the formats of other runtimes than TensorFlow's."""

from __future__ import annotations

import dataclasses
import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import tensorflow as tf
from typing_extensions import override

from kpg.distributions import portable
from kpg.export.loading.servable import quiet
from kpg.export.wire import names
from kpg.export.wire.errors import VerificationError, one_line
from kpg.export.writing.formats import Format
from kpg.export.writing.offer import Offer
from kpg.export.writing.signature import Signature, Tensors
from kpg.export.writing.verification import Parity, Runs, agreement

_ROWS = (1, 7, 64)
_LONGEST_REASON = 300

# What only the density of a Beta distribution needs, and no other runtime has.
_WITHOUT_DENSITY = "Lgamma"


class Converted(Format):
    """A file with one function, `serving_default`, for another runtime.

    No random numbers: those of TensorFlow are drawn by no other runtime. The outputs
    have the distribution's parameters, from which a device can draw its own.
    """

    name: ClassVar[str]  # as people write it
    file: ClassVar[str]  # of the version's directory

    @abstractmethod
    def convert(self, signature: Signature, owner: tf.Module) -> bytes:
        """Returns the file's content."""

    @abstractmethod
    def load(self, path: str | os.PathLike[str]) -> Runs:
        """Returns the file's model, ready to run."""

    @override
    def held(self, offer: Offer) -> Offer:
        greedy = offer.signatures[names.GREEDY]
        others = sorted(offer.signatures.keys() - set(names.BUILT_IN))
        if others:
            raise self.refusal(
                "holds the greedy actions alone; leave `signatures` out",
                ", ".join(others),
            )
        texts = [key for key, spec in greedy.inputs.items() if spec.dtype == tf.string]
        if texts:
            raise self.refusal(
                "cannot hold a policy that reads texts: no other runtime has the "
                "operations that encode them; export a SavedModel",
                f"the inputs {', '.join(texts)}, which are strings",
            )
        dropped = ["log_prob"] if _WITHOUT_DENSITY in greedy.operations else []
        signature = dataclasses.replace(
            greedy, function=_Without(greedy, dropped), live=None
        )
        return dataclasses.replace(offer, signatures={names.GREEDY: signature})

    @override
    def write(self, offer: Offer, stage: Path, model_name: str) -> None:
        signature = offer.signatures[names.GREEDY]
        try:
            with quiet(), portable.operations():
                content = self.convert(signature, offer.module())
        except (ImportError, OSError, VerificationError):
            raise
        except Exception as error:  # whatever a converter raises
            raise self.refusal(
                "cannot hold this policy: its converter refuses an operation of the "
                "graph; export a SavedModel, or use another backbone",
                one_line(error)[:_LONGEST_REASON],
            ) from error
        (stage / self.file).write_bytes(content)

    @override
    def verify(self, stage: Path, offer: Offer) -> Parity:
        file, loaders = stage / self.file, {self.name: self.load}
        with quiet():
            found = agreement(loaders, file, offer.live, offer.requests(_ROWS))
        return Parity(max(found.values(), default=0.0), found, ())

    def refusal(self, why: str, received: str) -> VerificationError:
        """Makes the error of a policy that the format cannot hold."""
        return VerificationError(f"{self.name} {why}. Received: {received}")


@dataclasses.dataclass(frozen=True)
class _Without:
    """A signature's function without some of its outputs."""

    signature: Signature
    dropped: Sequence[str]

    def __call__(self, **inputs: tf.Tensor) -> Tensors:
        outputs = self.signature.function(**inputs)
        return {key: one for key, one in outputs.items() if key not in self.dropped}
