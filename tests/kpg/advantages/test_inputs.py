"""What would broadcast, or lies out of range, is refused."""

from __future__ import annotations

import numpy as np
import pytest

import kpg.advantages
from tests.mutants.trajectories import (
    GAMMA,
    Fragment,
    fragment,
)


@pytest.mark.parametrize("field", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(12, 3, 1), (12, 1), (1, 3), (12,)])
def test_shapes_that_would_broadcast_are_refused(
    field: int, shape: tuple[int, ...]
) -> None:
    data = fragment()
    wrong = np.zeros(shape, data[field].dtype)
    arrays = data._replace(**{Fragment._fields[field]: wrong})
    with pytest.raises(ValueError, match=r"must have the shape of .* Received"):
        kpg.advantages.gae(*arrays, gamma=GAMMA, gae_lambda=0.95)
    with pytest.raises(ValueError, match=r"must have the shape of .* Received"):
        kpg.advantages.vtrace(*arrays, np.zeros((12, 3)), gamma=GAMMA)
    with pytest.raises(ValueError, match=r"must have the shape of .* Received"):
        kpg.advantages.n_step(*arrays, gamma=GAMMA, n=3)
    if field != 1:
        for function in (
            kpg.advantages.discounted_returns,
            kpg.advantages.total_returns,
        ):
            with pytest.raises(ValueError, match=r"must have the shape .* Received"):
                function(arrays.rewards, *arrays[2:], gamma=GAMMA)
    if field > 2:
        with pytest.raises(ValueError, match=r"must have the shape of .* Received"):
            kpg.advantages.discount_weights(*arrays[3:], gamma=GAMMA)


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan")])
def test_gamma_out_of_range_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"`gamma` must lie in \[0, 1\]. Received"):
        kpg.advantages.gae(*fragment(), gamma=gamma, gae_lambda=0.95)
    with pytest.raises(ValueError, match=r"`gamma` must lie in \[0, 1\]. Received"):
        kpg.advantages.discount_weights(*fragment()[3:], gamma=gamma)
