"""Gymnasium's classic control inside the graph: which class is behind which id.

Only names: `kpg list` shows the ids without TensorFlow.
"""

from __future__ import annotations

_FOLDER = "kpg.environments.graph.classic_control"
ENTRIES = {
    "Acrobot-v1": f"{_FOLDER}.acrobot:Acrobot",
    "CartPole-v1": f"{_FOLDER}.cart_pole:CartPole",
    "MountainCar-v0": f"{_FOLDER}.mountain_car:MountainCar",
    "MountainCarContinuous-v0": f"{_FOLDER}.mountain_car:MountainCarContinuous",
    "Pendulum-v1": f"{_FOLDER}.pendulum:Pendulum",
}
