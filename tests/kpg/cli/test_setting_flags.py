from __future__ import annotations

import argparse

import pytest

from kpg.cli import declared, setting_flags


def settings(*arguments: str) -> dict[str, object]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    setting_flags.add_to(parser)
    return setting_flags.settings_of(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--num-steps", "1e3"], "num_steps", 1000),
        (["--num-steps", "1.0"], "num_steps", 1),
        (["--gamma", "1"], "gamma", 1),
        (["--learning-rate", "3e-4"], "learning_rate", 0.0003),
        (["--max-grad-norm", "none"], "max_grad_norm", None),
        (["--normalize-rewards"], "normalize_rewards", True),
        (["--no-normalize-rewards"], "normalize_rewards", False),
        (["--hidden-units", "64,32"], "hidden_units", [64, 32]),
        (["--hidden-units", "[64, 32]"], "hidden_units", [64, 32]),
        (["--hidden-units", "64"], "hidden_units", [64]),
        (["--jit-compile", "auto"], "jit_compile", "auto"),
        (["--jit-compile", "false"], "jit_compile", False),
        (["--advantage", "vtrace"], "advantage", "vtrace"),
    ],
)
def test_values_are_read(arguments: list[str], name: str, value: object) -> None:
    found = settings(*arguments)
    assert found == {name: value}
    assert type(found[name]) is type(value)


def test_nothing_is_set_that_was_not_typed() -> None:
    assert settings() == {}


def test_there_is_a_flag_for_every_setting() -> None:
    parser = argparse.ArgumentParser()
    setting_flags.add_to(parser)
    text = parser.format_help()
    for name in declared.settings():
        assert f"--{name.replace('_', '-')}" in text
    assert "settings of REINFORCE:" in text and "settings of a text policy:" in text
    # What Python writes in quotes or by percent reads the same here.
    assert "±20 %" in text and "`" not in text.partition("options:")[2][200:]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num-steps", "2.5"], "must be a whole number. Received: '2.5'"),
        (["--gamma", "high"], "must be a number. Received: 'high'"),
        (["--max-grad-norm", "x"], "must be a number or None. Received: 'x'"),
    ],
)
def test_values_of_a_wrong_type_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(argparse.ArgumentError, match=words.replace(".", r"\.")):
        settings(*arguments)
