"""Gymnasium's classic control problems as functions of tensors, in float32.

Equations, constants, bounds and rewards are those of `gymnasium.envs.classic_control`.
"""

from kpg.environments.graph.classic_control.acrobot import Acrobot as Acrobot
from kpg.environments.graph.classic_control.cart_pole import CartPole as CartPole
from kpg.environments.graph.classic_control.mountain_car import (
    MountainCar as MountainCar,
)
from kpg.environments.graph.classic_control.mountain_car import (
    MountainCarContinuous as MountainCarContinuous,
)
from kpg.environments.graph.classic_control.pendulum import Pendulum as Pendulum
