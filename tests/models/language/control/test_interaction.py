"""What a policy sees, against what the executor thinks of each text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kpg.environments import ControlledGeneration
from kpg.models import CausalLMPolicy
from tests.steering import T, executor, generation, seen_by


def check_finals(
    made: CausalLMPolicy, env: ControlledGeneration, infos: dict[str, Any], ended: Any
) -> None:
    """Compares final observations with the texts that were scored."""
    for index, row in enumerate(np.flatnonzero(ended)):
        assert env.completed is not None
        columns = env.completed.columns
        parts = columns["prompt_ids"][index], columns["completion_ids"][index]
        want = seen_by(made, np.concatenate(parts))
        final = infos["final_obs"][row]
        for name in ("features", "last_token", "top_log_probs"):
            np.testing.assert_allclose(final[name], want[name], atol=1e-4)
        assert final["step"] == np.float32(len(parts[1]) / T)


@pytest.mark.usefixtures("one_by_one")
def test_two_ways_show_what_the_model_thinks() -> None:
    made = executor(temperature=0.7)
    env = generation(made, phrases=["cab", "b"], word_classes={"x": ["ab"]})
    random = np.random.default_rng(1)
    observations, _ = env.reset(seed=3)
    inserted = np.zeros(4, bool)
    for _ in range(6):
        texts = env._texts
        for row in range(4):
            tokens = texts.tokens[row, : texts.lengths[row]]
            want = seen_by(made, tokens)
            given = want.pop("given") * (texts.counts[row] > 0)
            for name, value in want.items():
                np.testing.assert_allclose(observations[name][row], value, atol=1e-4)
            if not inserted[row] or not texts.counts[row]:
                got = observations["log_likelihood"][row]
                np.testing.assert_allclose(got, [given], atol=1e-4)
            embedded = made.trunk.causal_lm.backbone.token_embedding.embeddings
            mean = embedded.numpy()[texts.prompt_ids(row)].mean(0)
            np.testing.assert_allclose(observations["prompt"][row], mean, rtol=1e-5)
            assert observations["step"][row] == np.float32(texts.counts[row] / T)
        actions = random.choice(
            len(env.instructions), 4, p=[0.4, 0.1, 0.1, 0.1, 0.3, 0]
        )
        inserted = actions == 4
        before = texts.counts.copy()
        observations, _, ended, _, infos = env.step(actions)
        check_finals(made, env, infos, ended)
        last = np.where(ended, 0, actions + 1)
        np.testing.assert_array_equal(observations["last_action"], last)
        assert observations in env.observation_space
        wrote = np.where(inserted, np.minimum(3, T - before), 1)
        np.testing.assert_array_equal(texts.counts, np.where(ended, 0, before + wrote))


@pytest.mark.usefixtures("one_by_one")
def test_one_way_shows_nothing_of_the_executor() -> None:
    env = generation(interaction="one_way", control="bias")
    observations, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observations["last_action"], np.zeros([4, 5]))
    biases = np.random.default_rng(0).uniform(-1, 1, (4, 5)).astype("float32")
    following, _, ended, *_ = env.step(biases)
    assert sorted(following) == ["last_action", "prompt", "step"] and not ended.all()
    last = np.where(ended[:, np.newaxis], 0.0, biases)
    np.testing.assert_array_equal(following["last_action"], last)
    same = np.all(following["prompt"] == observations["prompt"], axis=1)
    assert same[~ended].all()


def test_refuses_another_interaction() -> None:
    with pytest.raises(ValueError, match="one of one_way.*interaction='both'"):
        generation(interaction="both")
