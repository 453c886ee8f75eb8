from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

import kpg
from kpg.cli import algorithms, declared
from kpg.cli.language.task import Task
from kpg.cli.preset import Preset


@pytest.mark.parametrize("algorithm", algorithms.KNOWN)
def test_an_algorithm_declares_the_settings_that_it_takes(algorithm: str) -> None:
    kind = algorithms.find(algorithm)
    assert set(declared.names(algorithm)) == set(kind.settings_class.names())


@pytest.mark.parametrize(
    ("owner", "functions"),
    [
        ("Policy", [kpg.models.Policy]),
        ("texts", [kpg.text.gpt2, kpg.models.CausalLMPolicy]),
        ("Task", [Task]),
        ("Preset", [Preset]),
    ],
)
def test_the_others_declare_the_arguments_that_can_be_written(
    owner: str, functions: list[Any]
) -> None:
    taken = {name for own in functions for name in inspect.signature(own).parameters}
    # What follows from the task, or is an object.
    left = {
        "Policy": "observation_space action_space backbone seed kwargs",
        "texts": "vocabulary_size causal_lm tokenizer add_start_token special_tokens "
        "end_tokens chat_template "
        "seed kwargs",
        "Task": "",
        "Preset": "env policy trainer task",
    }
    assert set(declared.names(owner)) == taken - set(left[owner].split())


def test_every_setting_is_explained() -> None:
    for setting in declared.settings().values():
        assert len(setting.text.split()) > 2, setting
        assert "See `" not in setting.text[:5], setting


def test_types_are_those_of_the_fields() -> None:
    for algorithm in algorithms.KNOWN:
        fields: Any = dataclasses.fields(algorithms.find(algorithm).settings_class)
        for field in fields:
            if {"Estimator", "Baseline", "KL"}.isdisjoint(field.type.split(" | ")):
                kinds = set(declared.settings()[field.name].kinds)
                assert set(field.type.split(" | ")) <= kinds, field


def test_what_only_adds_to_a_docstring_stands_behind_it() -> None:
    text = declared.settings()["num_steps"].text
    assert text.startswith("Steps of each environment per iteration, ≥ 1.")
    assert text.endswith("PPO: Defaults to 2048. ActorCritic: Defaults to 5.")
    epochs = declared.settings()["num_epochs"].text
    assert epochs.startswith("PPO: Passes") and "ActorCritic: Gradient steps" in epochs
    assert declared.settings()["gae_lambda"].text == "λ in [0, 1]. Defaults to 0.95."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_steps", 8),
        ("gamma", 1),
        ("max_grad_norm", None),
        ("jit_compile", True),
        ("jit_compile", "auto"),
        ("advantage", {"class_name": "GAE"}),
        ("hidden_units", [8]),
        ("memory", "lstm"),
    ],
)
def test_values_of_a_right_type_pass(name: str, value: object) -> None:
    declared.check({name: value}, "PPO", "Preset", "Policy")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("num_steps", 8.5, "must be a whole number"),
        ("num_steps", True, "must be a whole number"),
        ("gamma", "a", "must be a number"),
        ("gamma", None, "must be a number"),
        ("max_grad_norm", "a", "must be a number or None"),
        ("normalize_rewards", 1, "must be True or False"),
        ("activation", 3, "must be text"),
    ],
)
def test_values_of_a_wrong_type_are_refused(
    name: str, value: object, words: str
) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` {words}\. Received: {name}="):
        declared.check({name: value}, "PPO", "Preset", "Policy")


def test_names_that_no_owner_has_are_refused() -> None:
    with pytest.raises(ValueError, match=r"PPO has no setting 'gama'.*gamma\?"):
        declared.check({"gama": 1}, "PPO", "Preset")
    with pytest.raises(ValueError, match="PPO has no setting 'returns'"):
        declared.check({"returns": "total"}, "PPO", "Preset")
    declared.check({"returns": "total"}, "REINFORCE", "Preset")
