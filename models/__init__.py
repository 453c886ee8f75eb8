"""Keras models: observation to distribution parameters, observation to value."""

import kpg.backend  # noqa: F401  # refuses another backend of Keras
from kpg.models.attention import AttentionCell as AttentionCell
from kpg.models.backbones import cnn as cnn
from kpg.models.backbones import mlp as mlp
from kpg.models.critic import Critic as Critic
from kpg.models.critic import RecurrentCritic as RecurrentCritic
from kpg.models.language.causal_lm_policy import CausalLMPolicy as CausalLMPolicy
from kpg.models.language.critic import LanguageCritic as LanguageCritic
from kpg.models.language.pretraining import pretrain as pretrain
from kpg.models.language.reward_model import RewardModel as RewardModel
from kpg.models.language.seq2seq_policy import Seq2SeqLMPolicy as Seq2SeqLMPolicy
from kpg.models.memory import GRU as GRU
from kpg.models.memory import LSTM as LSTM
from kpg.models.memory import Memory as Memory
from kpg.models.memory import Transformer as Transformer
from kpg.models.normalization import RunningNormalization as RunningNormalization
from kpg.models.observation_encoder import ObservationEncoder as ObservationEncoder
from kpg.models.player import Player as Player
from kpg.models.policy import Policy as Policy
from kpg.models.policy import RecurrentPolicy as RecurrentPolicy
