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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("train", "a", "--lerning-rate=3"),
            "no flag --lerning-rate. Did you mean --l",
        ),
        (
            ("train", "a", "--n-steps", "3"),
            "no flag --n-steps. Did you mean --num-steps?",
        ),
        (("train", "a", "--gama", "3"), "Did you mean --gamma?"),
        (("train", "a", "--zzz"), "kpg train: there is no flag --zzz. (`kpg train"),
        (("evaluate", "a", "--episode", "3"), "Did you mean --episodes?"),
        (("evaluate", "a", "b"), "one too many: b"),
        (("evaluate",), "required: RUN"),
    ],
)
def test_a_wrong_flag_is_told_in_a_line_with_the_closest(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(*arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and words in line


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
    text = capsys.readouterr().out
    assert "PPO, ActorCritic, REINFORCE, a recipe" in text
    assert text.startswith("usage: kpg train ENV [flags]\n")


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
