"""Where settings differ, and settings with inputs in place of some numbers."""

from __future__ import annotations

import dataclasses

from kpg.advantages import GAE, NStep
from kpg.graph.inputs import Number
from kpg.trainers import KL, PPOSettings
from kpg.trainers.running.inputs import Inputs, differences, get


def test_differences_are_found_inside_options_and_whole_numbers_are_none() -> None:
    first = PPOSettings(advantage=GAE(0.9), reference=KL(0.1, target=1.0))
    other = PPOSettings(
        advantage=GAE(0.8),
        reference=KL(0.1, target=2.0, horizon=5),
        gamma=1,
        num_steps=7,
        max_grad_norm=None,
        normalize_rewards=True,
    )
    assert dict(differences(first, other)) == {
        ("advantage", "gae_lambda"): True,
        ("reference", "target"): True,
        ("reference", "horizon"): False,
        ("gamma",): True,
        ("num_steps",): False,
        ("max_grad_norm",): False,
        ("normalize_rewards",): False,
    }
    of_kind = dataclasses.replace(first, advantage=NStep(3))
    assert dict(differences(first, of_kind)) == {("advantage",): False}


def test_inputs_stand_in_settings_in_place_of_numbers() -> None:
    first, other = PPOSettings(gamma=0.5), PPOSettings(gamma=0.25, advantage=GAE(0.5))
    paths = {path for path, _ in differences(first, other)}
    inputs = Inputs(paths, lambda path: [get(own, path) for own in (first, other)])
    inputs.put(other)
    within = inputs.within(first)
    assert isinstance(within, PPOSettings) and within.num_steps == first.num_steps
    for path in paths:
        number = get(within, path)
        assert isinstance(number, Number) and number.name == path[-1]
        assert float(number.read()) == get(other, path) == number.values()[1]
    assert (first.gamma, first.advantage) == (0.5, GAE(0.95))  # as they were
