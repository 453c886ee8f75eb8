"""Rewards for text: callables that score completions, and what combines them.

A reward is any callable `reward(prompts, completions, **columns)`, given B strings each
by keyword, that returns B scores: a number for a whole completion, an array with a
number for each of its tokens, or None for one that cannot be scored.
"""

from kpg.rewards.bleu import Bleu as Bleu
from kpg.rewards.bleu_and_grammar import bleu_and_grammar as bleu_and_grammar
from kpg.rewards.checking import check_columns as check_columns
from kpg.rewards.ending import MissingEnd as MissingEnd
from kpg.rewards.grammar import Grammar as Grammar
from kpg.rewards.length import SoftOverlong as SoftOverlong
from kpg.rewards.length import TargetLength as TargetLength
from kpg.rewards.likelihood import ExecutorLogLikelihood as ExecutorLogLikelihood
from kpg.rewards.likelihood import Fluency as Fluency
from kpg.rewards.likelihood import Scorer as Scorer
from kpg.rewards.repetition import Repetition as Repetition
from kpg.rewards.reward import Reward as Reward
from kpg.rewards.reward import RewardFunction as RewardFunction
from kpg.rewards.reward import Score as Score
from kpg.rewards.reward import deserialize as deserialize
from kpg.rewards.reward import serialize as serialize
from kpg.rewards.rouge import RougeL as RougeL
from kpg.rewards.rouge import RougeN as RougeN
from kpg.rewards.sentiment import Sentiment as Sentiment
from kpg.rewards.spelling import Spelling as Spelling
from kpg.rewards.weighted import Evaluation as Evaluation
from kpg.rewards.weighted import Weighted as Weighted
from kpg.rewards.weighted import evaluate as evaluate
