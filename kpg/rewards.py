"""Rewards for text: callables that score completions, and what combines them.

A reward is any `reward(prompts, completions, **columns)` that takes B strings each, by
keyword, and returns B scores: a number for a completion, an array with a number for
each of its tokens, or None for one that cannot be scored.
"""

from kpg.language.rewards.bleu import Bleu as Bleu
from kpg.language.rewards.checking import check_columns as check_columns
from kpg.language.rewards.coherence import Coherence as Coherence
from kpg.language.rewards.concurrent import Concurrent as Concurrent
from kpg.language.rewards.grammar import Grammar as Grammar
from kpg.language.rewards.grammar import bleu_and_grammar as bleu_and_grammar
from kpg.language.rewards.judgement import Judge as Judge
from kpg.language.rewards.judgement import Judgement as Judgement
from kpg.language.rewards.length import MissingEnd as MissingEnd
from kpg.language.rewards.length import SoftOverlong as SoftOverlong
from kpg.language.rewards.length import TargetLength as TargetLength
from kpg.language.rewards.lexicons import LetterShare as LetterShare
from kpg.language.rewards.lexicons import Sentiment as Sentiment
from kpg.language.rewards.lexicons import Spelling as Spelling
from kpg.language.rewards.likelihood import (
    ExecutorLogLikelihood as ExecutorLogLikelihood,
)
from kpg.language.rewards.likelihood import Fluency as Fluency
from kpg.language.rewards.likelihood import Scorer as Scorer
from kpg.language.rewards.repetition import Repetition as Repetition
from kpg.language.rewards.reward import Reward as Reward
from kpg.language.rewards.reward import RewardFunction as RewardFunction
from kpg.language.rewards.reward import Score as Score
from kpg.language.rewards.reward import TextReward as TextReward
from kpg.language.rewards.reward import deserialize as deserialize
from kpg.language.rewards.reward import serialize as serialize
from kpg.language.rewards.rouge import RougeL as RougeL
from kpg.language.rewards.rouge import RougeN as RougeN
from kpg.language.rewards.weighted import Evaluation as Evaluation
from kpg.language.rewards.weighted import Weighted as Weighted
from kpg.language.rewards.weighted import evaluate as evaluate
