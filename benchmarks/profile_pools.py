"""Times collecting from one and from several pools of EnvPool, in turn.

    python benchmarks/profile_pools.py LunarLander-v3 --num-envs 16
    python benchmarks/profile_pools.py HalfCheetah-v5 --hidden-units 256 256

Seconds by the clock, which other programs disturb: CPU time cannot show an overlap.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import kpg
from kpg.trainers.acting.host import HostCollector

ROUNDS = 7


def main() -> None:
    options = _options()
    collectors = {pools: collector(options, pools) for pools in (1, options.num_pools)}
    seconds: dict[int, list[float]] = {pools: [] for pools in collectors}
    for turn in range(ROUNDS + 1):
        for pools, own in collectors.items():
            began = time.perf_counter()
            own.collect(np.array([turn, 0], np.int32))
            seconds[pools].append(time.perf_counter() - began)
    medians = {pools: float(np.median(every[1:])) for pools, every in seconds.items()}
    for pools, median in medians.items():
        print(f"{pools} pools {median / options.num_steps * 1e6:10.1f} µs a step")
    print(f"ratio   {medians[1] / medians[options.num_pools]:10.2f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("env")
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--num-pools", type=int, default=2)
    parser.add_argument("--num-steps", type=int, default=512)
    parser.add_argument("--hidden-units", type=int, nargs="+", default=[64, 64])
    return parser.parse_args()


def collector(options: argparse.Namespace, pools: int) -> HostCollector:
    env: Any = kpg.make(
        f"envpool:{options.env}", options.num_envs, seed=0, num_pools=pools
    )
    is_image = len(env.observation_space.shape) == 3
    networks = {} if is_image else {"hidden_units": options.hidden_units}
    policy = kpg.models.Policy(
        env.observation_space, env.action_space, seed=0, **networks
    )
    return HostCollector(env, policy, options.num_steps)


if __name__ == "__main__":
    main()
