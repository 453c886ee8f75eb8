"""Where trajectories come from: environments inside the graph and on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kpg.backend  # noqa: F401  # refuses another backend of Keras
from kpg import imports
from kpg.environments.construction import BACKENDS as BACKENDS
from kpg.environments.construction import as_environment as as_environment
from kpg.environments.construction import make as make
from kpg.environments.environment import Environment as Environment
from kpg.environments.graph.classic_control.acrobot import Acrobot as Acrobot
from kpg.environments.graph.classic_control.cart_pole import CartPole as CartPole
from kpg.environments.graph.classic_control.mountain_car import (
    MountainCar as MountainCar,
)
from kpg.environments.graph.classic_control.mountain_car import (
    MountainCarContinuous as MountainCarContinuous,
)
from kpg.environments.graph.classic_control.pendulum import Pendulum as Pendulum
from kpg.environments.graph.functional import FunctionalEnv as FunctionalEnv
from kpg.environments.graph.functional import GraphEnvironment as GraphEnvironment
from kpg.environments.graph.functional import Rng as Rng
from kpg.environments.graph.navigation import Navigation as Navigation
from kpg.environments.host.envpool import EnvPoolVectorEnv as EnvPoolVectorEnv
from kpg.environments.host.masking import ActionMaskFromInfo as ActionMaskFromInfo
from kpg.environments.host.single import SingleEnv as SingleEnv
from kpg.environments.host.vector import HostEnvironment as HostEnvironment
from kpg.environments.host.vector import HostStep as HostStep
from kpg.environments.partner import Partner as Partner
from kpg.environments.registry import IN_GRAPH as IN_GRAPH
from kpg.environments.registry import register as register
from kpg.environments.registry import unregister as unregister
from kpg.environments.tabular import TabularMDP as TabularMDP

if TYPE_CHECKING:
    from kpg.language.conversation import Conversation as Conversation
    from kpg.language.generation import TextGeneration as TextGeneration
    from kpg.language.tools import Tools as Tools
    from kpg.models.language.control.controls import Biases as Biases
    from kpg.models.language.control.controls import Control as Control
    from kpg.models.language.control.controls import Instructions as Instructions
    from kpg.models.language.control.controls import NextToken as NextToken
    from kpg.models.language.control.generation import (
        ControlledGeneration as ControlledGeneration,
    )
    from kpg.testing.maze import Maze as Maze
    from kpg.testing.probes import Probe as Probe
    from kpg.testing.probes import ProbeEnv as ProbeEnv

__getattr__, __dir__ = imports.lazily(
    __name__,
    {
        "kpg.models.language.control.controls": "Biases Control Instructions NextToken",
        "kpg.models.language.control.generation": "ControlledGeneration",
        "kpg.testing.maze": "Maze",
        "kpg.testing.probes": "Probe ProbeEnv",
        "kpg.language.conversation": "Conversation",
        "kpg.language.generation": "TextGeneration",
        "kpg.language.tools": "Tools",
    },
)
