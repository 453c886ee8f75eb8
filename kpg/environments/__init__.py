"""Where trajectories come from: environments inside the graph and on the host."""

from kpg.environments.classic_control import Acrobot as Acrobot
from kpg.environments.classic_control import CartPole as CartPole
from kpg.environments.classic_control import MountainCar as MountainCar
from kpg.environments.classic_control import (
    MountainCarContinuous as MountainCarContinuous,
)
from kpg.environments.classic_control import Pendulum as Pendulum
from kpg.environments.construction import BACKENDS as BACKENDS
from kpg.environments.construction import IN_GRAPH as IN_GRAPH
from kpg.environments.construction import as_environment as as_environment
from kpg.environments.construction import make as make
from kpg.environments.controlled import ControlledGeneration as ControlledGeneration
from kpg.environments.environment import Environment as Environment
from kpg.environments.environment import Partner as Partner
from kpg.environments.envpool import EnvPoolVectorEnv as EnvPoolVectorEnv
from kpg.environments.functional import FunctionalEnv as FunctionalEnv
from kpg.environments.functional import GraphEnvironment as GraphEnvironment
from kpg.environments.functional import Rng as Rng
from kpg.environments.masking import ActionMaskFromInfo as ActionMaskFromInfo
from kpg.environments.maze import Maze as Maze
from kpg.environments.navigation import Navigation as Navigation
from kpg.environments.probes import Probe as Probe
from kpg.environments.probes import ProbeEnv as ProbeEnv
from kpg.environments.single import SingleEnv as SingleEnv
from kpg.environments.tabular import TabularMDP as TabularMDP
from kpg.environments.text import TextGeneration as TextGeneration
from kpg.environments.vector import HostEnvironment as HostEnvironment
from kpg.environments.vector import HostStep as HostStep
