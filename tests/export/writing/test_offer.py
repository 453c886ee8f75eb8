"""What a policy offers, and who says so."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import kpg
from kpg.export.writing import policy_signatures
from kpg.export.writing.offer import Offer, Source, offer_of

SPACE = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)


def make_policy(kind: Any = kpg.models.Policy) -> Any:
    return kind(SPACE, gym.spaces.Discrete(3), hidden_units=(4,), memory="gru", seed=0)


def test_requests_to_every_signature() -> None:
    offer = offer_of(make_policy(), None)
    requests = offer.requests([0, 4])
    names = ["serving_default", "sample"]
    assert [name for name, _ in requests] == names * 2
    for number, (name, inputs) in enumerate(requests):
        rows = 0 if number < 2 else 4
        assert inputs.keys() == offer.signatures[name].inputs.keys()
        assert inputs["observation"].shape == (rows, 2)
        assert offer.live(name, inputs)["log_prob"].shape == (rows,)
    again = offer.requests([4])[1][1]
    np.testing.assert_array_equal(again["observation"], requests[3][1]["observation"])


def test_a_module_owns_what_is_saved() -> None:
    policy = make_policy()
    offer = offer_of(policy, None)
    assert {id(v) for v in offer.module().variables} == {
        id(v.value) for v in policy.variables
    }


def exporter(source: Source, max_new_tokens: int | None) -> Offer:
    """A builder of one's own: the usual one, and a word about itself."""
    made = policy_signatures.offer(source)
    made.settings["limit"] = max_new_tokens
    return made


def test_a_policy_can_name_its_own_builder() -> None:
    class Own(kpg.models.Policy):
        exporter = f"{__name__}:exporter"

    assert offer_of(make_policy(Own), 5).settings == {"limit": 5}
    Own.exporter = f"{__name__}:nowhere"
    with pytest.raises(ValueError, match="has no such name.*nowhere"):
        offer_of(make_policy(Own), 5)


def test_what_is_no_policy() -> None:
    with pytest.raises(ValueError, match=r"a kpg\.models\.Policy. Received: dict"):
        offer_of({}, None)
    with pytest.raises(ValueError, match="no text; leave it out. Received: max_new"):
        offer_of(make_policy(), 5)
