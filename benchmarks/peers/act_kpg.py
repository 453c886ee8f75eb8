"""Acts by hand with kpg; prints microseconds of CPU by case, as JSON."""

from __future__ import annotations

import json

import numpy as np
from acting_cases import BATCH, ROW, microseconds

import kpg

env = kpg.make("CartPole-v1")
spaces = env.observation_space, env.action_space
policy = kpg.models.Policy(*spaces, seed=0)
memory = kpg.models.Player(kpg.models.Policy(*spaces, memory="gru", seed=0))
many = np.repeat(ROW[np.newaxis], BATCH, axis=0)
print(
    json.dumps(
        {
            "one, greedy": microseconds(lambda: policy.act(ROW)),
            "one, sampled": microseconds(lambda: policy.act(ROW, deterministic=False)),
            f"{BATCH}, greedy": microseconds(lambda: policy.act(many)),
            "one, with a GRU": microseconds(lambda: memory.act(ROW)),
        }
    )
)
