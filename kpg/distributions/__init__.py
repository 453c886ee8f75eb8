"""From the numbers a network puts out to a distribution over actions.

A *family* belongs to an action space. It turns parameters `[..., P]` into a TensorFlow
Probability distribution, and it has the few operations of the training loop written
out, since those run a hundred thousand times a second: tests hold them to the
distribution's own results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kpg.distributions.beta import BetaFamily
from kpg.distributions.categorical import CategoricalFamily, gumbel
from kpg.distributions.composite import CompositeFamily
from kpg.distributions.construction import for_space
from kpg.distributions.family import Family
from kpg.distributions.multi_categorical import MultiCategoricalFamily
from kpg.distributions.normal import NormalFamily
from kpg.distributions.tanh_normal import TanhNormalFamily
from kpg.distributions.truncated import TruncatedFamily

if TYPE_CHECKING:
    from kpg.distributions.by_argmax import CategoricalByArgmax

__all__ = [
    "BetaFamily",
    "CategoricalByArgmax",
    "CategoricalFamily",
    "CompositeFamily",
    "Family",
    "MultiCategoricalFamily",
    "NormalFamily",
    "TanhNormalFamily",
    "TruncatedFamily",
    "for_space",
    "gumbel",
]


def __getattr__(name: str) -> Any:
    # Its base class is TensorFlow Probability's, see `kpg.graph.probability`.
    if name == "CategoricalByArgmax":
        from kpg.distributions.by_argmax import CategoricalByArgmax

        return CategoricalByArgmax
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
