"""Distributions over actions: families for spaces, and the choices of a family.

A family writes out the operations of the training loop, for speed, instead of calling
TensorFlow Probability; tests hold them to its results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kpg.distributions.beta import BetaFamily
from kpg.distributions.box import BoxFamily
from kpg.distributions.categorical import CategoricalFamily, by_argmax, gumbel
from kpg.distributions.composite import CompositeFamily
from kpg.distributions.construction import for_space
from kpg.distributions.distribution import (
    Beta,
    Distribution,
    FamilyOf,
    Normal,
    TanhNormal,
)
from kpg.distributions.family import Family
from kpg.distributions.multi_categorical import MultiCategoricalFamily
from kpg.distributions.normal import NormalFamily
from kpg.distributions.tanh_normal import TanhNormalFamily
from kpg.distributions.truncated import TruncatedFamily

if TYPE_CHECKING:
    from tensorflow_probability.distributions import Categorical as CategoricalByArgmax

__all__ = [
    "Beta",
    "BetaFamily",
    "BoxFamily",
    "CategoricalByArgmax",
    "CategoricalFamily",
    "CompositeFamily",
    "Distribution",
    "Family",
    "FamilyOf",
    "MultiCategoricalFamily",
    "Normal",
    "NormalFamily",
    "TanhNormal",
    "TanhNormalFamily",
    "TruncatedFamily",
    "for_space",
    "gumbel",
]


def __getattr__(name: str) -> object:
    # Its base class is TensorFlow Probability's, see `kpg.graph.probability`.
    if name == "CategoricalByArgmax":
        return by_argmax()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
