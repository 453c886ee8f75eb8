"""One token of each text at a time, compiled or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.steering import T, generation


def test_equal_seeds_write_equal_texts() -> None:
    def texts(seed: int, **options: Any) -> list[Any]:
        env = generation(num_envs=8, **options)
        env.reset(seed=seed)
        steps = [env.step(np.zeros(8, int)) for _ in range(T)]
        return [step[0]["last_token"].tolist() for step in steps]

    assert texts(1) == texts(1, jit_compile=True) != texts(2)
