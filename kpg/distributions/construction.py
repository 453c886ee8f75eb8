"""From an action space to its family."""

from __future__ import annotations

import gymnasium as gym

from kpg import spaces
from kpg.distributions.categorical import CategoricalFamily
from kpg.distributions.composite import CompositeFamily
from kpg.distributions.distribution import Distribution, DistributionLike, Normal, get
from kpg.distributions.family import Family
from kpg.distributions.multi_categorical import MultiCategoricalFamily
from kpg.types import Space


def for_space(
    action_space: Space,
    *,
    distribution: DistributionLike = "normal",
    state_dependent_std: bool = False,
    log_std_init: float = 0.0,
) -> Family:
    """Returns the family of distributions over an action space.

    Args:
        action_space: Space of one environment: `Discrete`, `MultiDiscrete`,
            `MultiBinary`, `Box` of floats, or a nest of `Tuple` and `Dict` of these.
        distribution: For each `Box`: `Normal()`, `TanhNormal()`, `Beta()`, their names
            "normal", "tanh_normal" and "beta", a distribution or `Family` class of your
            own, or its "module:Name". Defaults to "normal".
        state_dependent_std: Shorthand for the distribution's argument.
        log_std_init: Shorthand for the distribution's argument.

    Raises:
        ValueError: If the space has no family, or an option is unknown or without use.
    """
    spaces.check(action_space, "action")
    chosen = get(distribution, state_dependent_std, log_std_init)
    leaves = [leaf for _, leaf in spaces.leaves(action_space)]
    # Files from before there was a scale have the second.
    usual = chosen in (Normal(), Normal(scaled=False))
    if not usual and not any(isinstance(part, gym.spaces.Box) for part in leaves):
        raise ValueError(
            "A distribution is chosen for each Box, and there is none in "
            f"{action_space!r}; leave it out. Received: {chosen}"
        )
    families = [_for_leaf(leaf, chosen) for leaf in leaves]
    if isinstance(action_space, (gym.spaces.Tuple, gym.spaces.Dict)):
        return CompositeFamily(action_space, families)
    return families[0]


def _for_leaf(space: Space, distribution: Distribution) -> Family:
    """Returns the family of a space that is not a `Tuple` or `Dict`."""
    if isinstance(space, gym.spaces.Box):
        return distribution.family(space)
    if isinstance(space, gym.spaces.Discrete):
        return CategoricalFamily(space)
    if isinstance(space, (gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)):
        return MultiCategoricalFamily(space)
    raise TypeError(f"`spaces.check` let a space pass. Received: {space!r}")
