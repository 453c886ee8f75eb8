"""Keras models: observation to distribution parameters, observation to value."""

from kpg.models.backbones import mlp as mlp
from kpg.models.critic import Critic as Critic
from kpg.models.normalization import RunningNormalization as RunningNormalization
from kpg.models.policy import Policy as Policy
