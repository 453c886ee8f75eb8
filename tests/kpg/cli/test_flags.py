from __future__ import annotations

from pathlib import Path

import pytest

from kpg.cli import flags


def parse(*arguments: str) -> dict[str, object]:
    return vars(flags.parser().parse_args(arguments))


@pytest.mark.parametrize(
    ("text", "steps"), [("3e6", 3_000_000), ("12", 12), ("1.0", 1), ("1e0", 1)]
)
def test_whole_numbers_may_be_written_as_floats(text: str, steps: int) -> None:
    found = parse("train", "CartPole-v1", "--total-steps", text)["total_steps"]
    assert (found, type(found)) == (steps, int)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", "-1"), "from 0 to 2147483647. Received: '-1'"),
        (("--seed", "1.5"), "Received: '1.5'"),
        (("--total-steps", "inf"), "Received: 'inf'"),
        (("--num-envs", "nan"), "Received: 'nan'"),
        (("--num-envs", "many"), "Received: 'many'"),
    ],
)
def test_other_numbers_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], words: str
) -> None:
    with pytest.raises(SystemExit) as end:
        parse("train", "CartPole-v1", *arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_flags_are_not_abbreviated() -> None:
    with pytest.raises(SystemExit):
        parse("train", "CartPole-v1", "--total", "5")


def test_what_is_repeated_is_collected() -> None:
    given = parse("train", "CartPole-v1", "--set", "a=1", "--set", "b=2")
    assert given["assignments"] == ["a=1", "b=2"]
    assert parse("train", "CartPole-v1")["assignments"] == []
    played = parse("play", "text:letters", "--prompt", "a", "--prompt", "b")
    assert played["prompts"] == ["a", "b"]


def test_help_names_the_algorithms(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse("train", "--help")
    assert end.value.code == 0
    assert "PPO, ActorCritic, REINFORCE, or" in capsys.readouterr().out


def test_the_commands_of_the_page_on_scaling_exist() -> None:
    page = Path(__file__).parents[3] / "docs/scaling.md"
    lines = [line.split() for line in page.read_text("utf-8").splitlines()]
    found = [vars(flags.parser().parse_args(s[1:])) for s in lines if s[:1] == ["kpg"]]
    assert [(own["command"], own.get("strategy")) for own in found] == [
        ("train", "mirrored"),
        ("launch", None),
        ("train", "multiworker"),
    ]


def test_a_server_can_be_a_socket() -> None:
    address = parse("play", "CartPole-v1", "--server", "unix:/run/kpg.sock")["server"]
    assert address == "unix:/run/kpg.sock"
