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

    The options are about each `Box` in the space.

    Args:
        action_space: The action space of one environment: a Gymnasium `Discrete`,
            `MultiDiscrete`, `MultiBinary`, a `Box` of floating-point numbers, or a
            `Tuple` or `Dict` of these, nested at will.
        distribution: `Normal()`, whose samples are clipped for the environment;
            `TanhNormal()`, squashed into the bounds; `Beta()`, which lives between
            them; or a distribution or `Family` class of your own. The names "normal",
            "tanh_normal" and "beta" are shorthand. Defaults to "normal".
        state_dependent_std: Shorthand for the argument of that name: whether the
            network outputs the standard deviations. Defaults to `False`.
        log_std_init: Shorthand for the argument of that name: initial logarithm of the
            standard deviations that are weights. Defaults to 0.

    Raises:
        ValueError: If there is no family for the space, the distribution is not one of
            the above, or an option would have no effect.

    Example:
        >>> family = for_space(gym.spaces.Discrete(3))
        >>> family.log_prob(tf.constant([0.0, 0.0, 0.0]), 2)
        <tf.Tensor: shape=(), dtype=float32, numpy=-1.0986123>
    """
    spaces.check(action_space, "action")
    chosen = get(distribution, state_dependent_std, log_std_init)
    leaves = [leaf for _, leaf in spaces.leaves(action_space)]
    if chosen != Normal() and not any(isinstance(p, gym.spaces.Box) for p in leaves):
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
