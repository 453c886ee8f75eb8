"""The value of a text: a new head, a shared trunk and one of its own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kpg.models import CausalLMPolicy, LanguageCritic
from kpg.models.language.seq2seq_trunk import Seq2SeqTrunk
from tests import seq2seq
from tests.texts import Letters, gpt2, policy, stirred

# KerasHub 0.32 hands T5's attention its mask by a name that Keras takes for another.


def test_a_new_value_head_says_zero_and_is_nobody_elses() -> None:
    made = CausalLMPolicy(gpt2(5), Letters("abc"))
    assert made.critic is not None
    np.testing.assert_array_equal(made.critic(tf.constant([2, 3])), [0.0, 0.0])
    own = {id(variable) for variable in made.critic.head.variables}
    assert not own & {id(variable) for variable in made.variables}
    assert CausalLMPolicy(gpt2(5), Letters("abc"), value_head=False).critic is None


def test_a_critic_needs_its_policy() -> None:
    made = policy("abc")
    assert made.critic is not None
    config = made.critic.get_config()
    assert LanguageCritic.from_config(config, trunk=made) is made.critic
    with pytest.raises(ValueError, match="trunk=None"):
        LanguageCritic.from_config(config)


def test_a_critic_with_a_trunk_of_its_own() -> None:
    made = seq2seq.policy("abc", small_bart())
    own = LanguageCritic(Seq2SeqTrunk(small_bart(), made.trunk.framing))
    stirred(own.head)
    assert not {id(w) for w in own.weights} & {id(w) for w in made.weights}
    again = LanguageCritic.from_config(own.get_config())
    for ours, theirs in zip(again.weights, own.weights, strict=True):
        ours.assign(theirs)
    tokens = tf.constant([2, 3])
    np.testing.assert_array_equal(again(tokens), own(tokens))
    assert again.trunk is not own.trunk


def small_bart() -> object:
    return seq2seq.bart(5, num_layers=1, hidden_dim=8)
