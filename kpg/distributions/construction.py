"""From an action space to its family."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym

from kpg import spaces
from kpg.distributions.beta import BetaFamily
from kpg.distributions.categorical import CategoricalFamily
from kpg.distributions.composite import CompositeFamily
from kpg.distributions.family import Family
from kpg.distributions.multi_categorical import MultiCategoricalFamily
from kpg.distributions.normal import NormalFamily
from kpg.distributions.tanh_normal import TanhNormalFamily

_DISTRIBUTIONS = ("normal", "tanh_normal", "beta")


def for_space(
    action_space: gym.Space[Any],
    *,
    distribution: str = "normal",
    state_dependent_std: bool = False,
    log_std_init: float = 0.0,
) -> Family:
    """Returns the family of distributions over an action space.

    The options are about the `Box` in the space, or each `Box` in a nested one.

    Args:
        action_space: The action space of one environment: a Gymnasium `Discrete`,
            `MultiDiscrete`, `MultiBinary`, a `Box` of floating-point numbers, or a
            `Tuple` or `Dict` of these, nested at will.
        distribution: `"normal"`, whose samples the environment gets clipped;
            `"tanh_normal"`, squashed into the bounds; or `"beta"`, which lives between
            them. The last two need finite bounds. Defaults to `"normal"`.
        state_dependent_std: Whether the network puts out the standard deviations;
            otherwise they are weights of their own. Not for `"beta"`, which has none.
            Defaults to False.
        log_std_init: Initial logarithm of the standard deviations that are weights,
            before the tangent for `"tanh_normal"`. Defaults to 0.

    Raises:
        ValueError: If there is no family for the space, an option is not one of the
            above, or it would have no effect.

    Example:
        >>> family = for_space(gym.spaces.Discrete(3))
        >>> family.log_prob(tf.constant([0.0, 0.0, 0.0]), 2)
        <tf.Tensor: shape=(), dtype=float32, numpy=-1.0986123>
    """
    spaces.check(action_space, "action")
    leaves = [leaf for _, leaf in spaces.leaves(action_space)]
    options: dict[str, Any] = {
        "distribution": distribution,
        "state_dependent_std": state_dependent_std,
        "log_std_init": log_std_init,
    }
    _check_options(action_space, leaves, **options)
    families = [_for_leaf(leaf, **options) for leaf in leaves]
    if isinstance(action_space, (gym.spaces.Tuple, gym.spaces.Dict)):
        return CompositeFamily(action_space, families)
    return families[0]


def _for_leaf(space: Any, distribution: str, **std_options: Any) -> Family:
    """Returns the family of a space that is no `Tuple` or `Dict`."""
    if isinstance(space, gym.spaces.Discrete):
        return CategoricalFamily(space)
    if not isinstance(space, gym.spaces.Box):
        return MultiCategoricalFamily(space)
    if distribution == "beta":
        return BetaFamily(space)
    if distribution == "tanh_normal":
        return TanhNormalFamily(space, **std_options)
    return NormalFamily(space, **std_options)


def _check_options(
    action_space: gym.Space[Any],
    leaves: list[gym.Space[Any]],
    distribution: str,
    state_dependent_std: bool,
    log_std_init: float,
) -> None:
    """Refuses options that do not exist or would have no effect."""
    if distribution not in _DISTRIBUTIONS:
        raise ValueError(
            f"`distribution` must be one of {_DISTRIBUTIONS}. Received: "
            f"{distribution!r}"
        )
    if not math.isfinite(log_std_init):
        raise ValueError(f"`log_std_init` must be finite. Received: {log_std_init}")
    std_options = {
        "state_dependent_std": state_dependent_std,
        "log_std_init": log_std_init,
    }
    std_given = {name: value for name, value in std_options.items() if value}
    given = std_given | (
        {} if distribution == "normal" else {"distribution": distribution}
    )
    if given and not any(isinstance(leaf, gym.spaces.Box) for leaf in leaves):
        raise ValueError(
            f"These options are about a Box, and there is none in {action_space!r}; "
            f"leave them out. Received: {given}"
        )
    if distribution == "beta" and std_given:
        raise ValueError(
            "A beta distribution has no standard deviation of its own; leave these out "
            f"or take another distribution. Received: {std_given}"
        )
    if len(std_given) == 2:
        raise ValueError(
            "`log_std_init` is the initial value of a weight, and with "
            "`state_dependent_std` there is none: the network starts near 0; leave one "
            f"of them out. Received: {std_given}"
        )
