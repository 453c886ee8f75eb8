"""Environments on the host: one compiled call per step, and one to learn."""

from __future__ import annotations

from typing_extensions import override

from kpg.environments.host.vector import HostEnvironment
from kpg.trainers.acting.graph import Episodes
from kpg.trainers.acting.host import HostCollector
from kpg.trainers.learning.training import Training
from kpg.trainers.running.engine import HostedEngine
from kpg.trajectories import Trajectory
from kpg.types import Tensor


class HostEngine(HostedEngine):
    """Steps Gymnasium's environments."""

    env: HostEnvironment

    def __init__(
        self, training: Training, env: HostEnvironment, jit_compile: bool = False
    ) -> None:
        super().__init__(training, env, jit_compile)
        if training.needs.greedy:
            raise ValueError(
                "A comparison with the greedy episode from the same start needs an "
                "environment that can start twice in one state: one in the graph, or a "
                "text task. Received: "
                f"{env.spec.id if env.spec else type(env).__name__}"
            )
        self.collector = HostCollector(
            env,
            training.policy,
            training.settings.num_steps,
            training.needs.whole_episodes,
            training.partner,
        )

    @override
    def restart(self) -> None:
        super().restart()
        self.collector.restart_episodes()

    @override
    def collect(self, iteration: int, seed: Tensor) -> tuple[Trajectory, Episodes]:
        return self.collector.collect(seed)
