"""Trainers: trajectories to better weights."""

from __future__ import annotations

import kpg.backend  # noqa: F401  # refuses another backend of Keras
from kpg import imports
from kpg.trainers import recipes as recipes
from kpg.trainers.actor_critic import ActorCritic as ActorCritic
from kpg.trainers.actor_critic import ActorCriticSettings as ActorCriticSettings
from kpg.trainers.algorithm import Algorithm as Algorithm
from kpg.trainers.algorithm import Iteration as Iteration
from kpg.trainers.algorithm import Needs as Needs
from kpg.trainers.algorithm import Updates as Updates
from kpg.trainers.learning.batches import Batch as Batch
from kpg.trainers.learning.outputs import Outputs as Outputs
from kpg.trainers.learning.reference import KL as KL
from kpg.trainers.learning.replay import Replay as Replay
from kpg.trainers.population import Histories as Histories
from kpg.trainers.population import Population as Population
from kpg.trainers.population import grid as grid
from kpg.trainers.ppo import PPO as PPO
from kpg.trainers.ppo import PPOSettings as PPOSettings
from kpg.trainers.reinforce import REINFORCE as REINFORCE
from kpg.trainers.reinforce import REINFORCESettings as REINFORCESettings
from kpg.trainers.running import kinds
from kpg.trainers.running.checkpoints import Checkpoint as Checkpoint
from kpg.trainers.running.loading import load as load
from kpg.trainers.running.strategies import make_strategy as make_strategy
from kpg.trainers.settings import TrainerSettings as TrainerSettings
from kpg.trainers.trainer import Trainer as Trainer

# Imported with the first text task, since language models take seconds to load.
kinds.register(
    "kpg.language.generation:TextGeneration", "kpg.trainers.language.engine:KIND"
)
kinds.register(
    "kpg.language.conversation:Conversation", "kpg.trainers.language.talking:KIND"
)
# The doctor examines trainers, so it is imported when it is first asked for.
__getattr__, __dir__ = imports.lazily(__name__, {"kpg.doctor": "Finding diagnose"})
