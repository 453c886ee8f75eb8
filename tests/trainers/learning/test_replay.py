"""`Replay` is a value, and says what it cannot be."""

from __future__ import annotations

import json
from typing import Any

import keras
import pytest

import kpg
from kpg.advantages import VTrace
from kpg.trainers import ActorCriticSettings, PPOSettings, REINFORCESettings, Replay


def test_it_is_written_as_a_value_a_name_or_flat() -> None:
    for given, meant in (
        ({"replay": Replay(4)}, Replay(4, 1)),
        ({"replay": "replay", "replay_ratio": 3}, Replay(8, 3)),
        ({"replay_num_fragments": 5, "replay_ratio": 2}, Replay(5, 2)),
        ({"replay_num_fragments": 0}, None),
        ({}, None),
    ):
        assert (
            ActorCriticSettings.make({"advantage": "vtrace", **given}).replay == meant
        )


def test_it_is_part_of_the_configuration() -> None:
    settings = ActorCriticSettings(advantage=VTrace(), replay=Replay(4, 2))
    config = json.loads(json.dumps(settings.get_config()))
    assert ActorCriticSettings.make(config) == settings
    node = keras.saving.serialize_keras_object(Replay(4, 2))
    assert keras.saving.deserialize_keras_object(node) == Replay(4, 2)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Replay, {"num_fragments": 0}, "`num_fragments` must be .*Received: .*0"),
        (Replay, {"ratio": 1.5}, "`ratio` must be .*Received: ratio=1.5"),
        (
            ActorCriticSettings.make,
            {"replay": Replay()},
            r"VTrace\(\) does: GAE\(gae_lambda=1.0\) does not. Received: replay=Replay",
        ),
        (
            ActorCriticSettings.make,
            {"advantage": "vtrace", "replay_ratio": 2},
            "`replay_ratio` has no effect with replay=None",
        ),
        (
            ActorCriticSettings.make,
            {"advantage": "vtrace", "replay": Replay(), "normalize_advantages": True},
            "must be False with `replay`.*Received: normalize_advantages=True",
        ),
        (
            PPOSettings.make,
            {"replay": Replay()},
            r"Say it to ActorCritic.*PPO would twice, and clip it. Received: replay=",
        ),
        (REINFORCESettings.make, {"replay_num_fragments": 4}, "Say it to ActorCritic"),
    ],
)
def test_what_cannot_be_is_refused(
    kind: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options) if kind is Replay else kind(options)


def test_it_is_a_public_name() -> None:
    assert kpg.trainers.Replay is Replay
