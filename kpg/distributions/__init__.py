"""Distributions over actions: families for spaces, and the choices of a family.

A family writes out the operations of the training loop, for speed, instead of calling
TensorFlow Probability; tests hold them to its results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import kpg.backend  # noqa: F401  # refuses another backend of Keras
from kpg.distributions.beta import BetaFamily as BetaFamily
from kpg.distributions.box import BoxFamily as BoxFamily
from kpg.distributions.categorical import CategoricalFamily as CategoricalFamily
from kpg.distributions.categorical import by_argmax
from kpg.distributions.categorical import gumbel as gumbel
from kpg.distributions.composite import CompositeFamily as CompositeFamily
from kpg.distributions.construction import for_space as for_space
from kpg.distributions.distribution import Beta as Beta
from kpg.distributions.distribution import Distribution as Distribution
from kpg.distributions.distribution import FamilyOf as FamilyOf
from kpg.distributions.distribution import Normal as Normal
from kpg.distributions.distribution import TanhNormal as TanhNormal
from kpg.distributions.family import Family as Family
from kpg.distributions.multi_categorical import (
    MultiCategoricalFamily as MultiCategoricalFamily,
)
from kpg.distributions.normal import NormalFamily as NormalFamily
from kpg.distributions.tanh_normal import TanhNormalFamily as TanhNormalFamily
from kpg.distributions.truncated import TruncatedFamily as TruncatedFamily

if TYPE_CHECKING:
    from tensorflow_probability.distributions import (
        Categorical as CategoricalByArgmax,  # noqa: F401
    )


def __getattr__(name: str) -> object:
    # Its base class is TensorFlow Probability's, see `kpg.graph.probability`.
    if name == "CategoricalByArgmax":
        return by_argmax()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
