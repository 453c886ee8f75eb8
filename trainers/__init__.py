"""Trainers: trajectories to better weights."""

from kpg.trainers.actor_critic import ActorCritic as ActorCritic
from kpg.trainers.actor_critic import ActorCriticSettings as ActorCriticSettings
from kpg.trainers.diagnosis import Finding as Finding
from kpg.trainers.diagnosis import diagnose as diagnose
from kpg.trainers.loading import load as load
from kpg.trainers.ppo import PPO as PPO
from kpg.trainers.ppo import PPOSettings as PPOSettings
from kpg.trainers.reinforce import REINFORCE as REINFORCE
from kpg.trainers.reinforce import REINFORCESettings as REINFORCESettings
from kpg.trainers.settings import TrainerSettings as TrainerSettings
from kpg.trainers.trainer import Trainer as Trainer
