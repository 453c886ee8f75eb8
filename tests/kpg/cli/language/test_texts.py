"""Text tasks on the command line, from `kpg train text:…` to a served completion."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf

import kpg
from kpg.cli import algorithms
from kpg.cli.commands import train
from kpg.cli.kind import Seeds
from kpg.cli.language.texts import Texts
from kpg.cli.runs import Run
from kpg.environments import TextGeneration
from kpg.export import Server
from tests.command_line import Kpg, one_line, succeed

TEXTS = Texts()
LETTERS = "text:letters"
SMALL = [
    *("--num-envs", "8", "--total-steps", "96", "--set", "steps_per_epoch=1"),
    *("--set", "num_steps=6", "--set", "minibatch_size=48", "--set", "num_heads=1"),
    *("--set", "hidden_dim=8", "--set", "jit_compile=False"),
    *("--set", "validation_episodes=4", "--set", "pretraining_epochs=1"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two iterations; tests must not change it."""
    directory = tmp_path_factory.mktemp("runs") / "letters"
    succeed("train", LETTERS, *SMALL, "--output", directory)
    return Run(directory)


@pytest.fixture(scope="module")
def address(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("servables") / "letters"
    succeed("export", run.directory, directory, "--max-new-tokens", 6)
    with Server(directory, port=0) as server:
        yield server.address


def test_a_run_directory_is_like_the_others(run: Run) -> None:
    assert {path.name for path in run.directory.iterdir()} == {
        *("settings.json", "metrics.jsonl", "learning_curve.png", "best.keras"),
        *("last.keras", "result.json", "completions.jsonl", "pretraining.json"),
    }
    settings = run.settings()
    assert settings["env"] == LETTERS
    assert settings["preset"]["policy"]["hidden_dim"] == 8
    assert settings["preset"]["task"]["pretraining_epochs"] == 1
    result = json.loads(run.result_file.read_text())
    assert result["env_steps"] == 96
    assert 0 < result["pretraining_loss"] < math.log(258) + 0.1
    assert result["rewards"] == {"vowels": pytest.approx(result["return_mean"])}


def test_completions_are_written_down(run: Run) -> None:
    lines = run.completions_file.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows] == [1] * 4 + [2] * 4
    assert {row["prompt"] for row in rows} == {"bast", "band", "bark", "bamp"}
    share = kpg.text.LetterShare()
    for row in rows:
        assert set(row) == {"epoch", "prompt", "completion", "rewards"}
        (right,) = share(["?"], [row["completion"]])
        assert row["rewards"] == {"vowels": pytest.approx(right)}
    means = [
        sum(row["rewards"]["vowels"] for row in rows if row["epoch"] == epoch) / 4
        for epoch in (1, 2)
    ]
    validations = [logs["val_return"] for logs in run.metrics()]
    assert validations == pytest.approx(means, abs=1e-6)


@pytest.mark.usefixtures("one_by_one")
def test_evaluate(kpg_command: Kpg, run: Run) -> None:
    arguments = ("evaluate", run.directory, "--episodes", 8, "--json", "--seed", 5)
    values = kpg_command(*arguments).values
    assert values["episodes"] == 8
    assert values["rewards"] == {"vowels": pytest.approx(values["return_mean"])}
    assert values == kpg_command(*arguments).values


PROMPTS = ["--prompt", "bast", "--prompt", "lo", "--max-new-tokens", "5", "--json"]


@pytest.mark.usefixtures("one_by_one")
def test_play_a_run(kpg_command: Kpg, run: Run) -> None:
    played = kpg_command("play", run.directory, *PROMPTS, "--seed", "3").values
    policy = kpg.load(run.model_file()).policy
    assert isinstance(policy, kpg.models.CausalLMPolicy)
    texts = policy.generate(["bast", "lo"], 5, seed=3)
    assert [row["completion"] for row in played["completions"]] == texts


@pytest.mark.slow  # `tests/export/language/test_completions.py` has the fast ones
@pytest.mark.usefixtures("one_by_one")
def test_play_against_a_server(kpg_command: Kpg, run: Run, address: str) -> None:
    server = [LETTERS, "--server", address]
    here = kpg_command("play", run.directory, *PROMPTS, "--seed", "3").values
    served = kpg_command("play", *server, *PROMPTS, "--seed", "3").values
    assert here["completions"] == served["completions"]
    printed = kpg_command("play", *server, "--prompt", "bast", "--deterministic").out
    policy = kpg.load(run.model_file()).policy
    assert isinstance(policy, kpg.models.CausalLMPolicy)
    (greedy,) = policy.generate(["bast"], 6, deterministic=True)
    assert printed == f"bast{greedy}\n"
    for arguments, code, words in (
        ([], 2, "--prompt"),
        (["--prompt", ""], 1, "INVALID_ARGUMENT"),
        (["--prompt", "a", "--max-new-tokens", "7"], 1, "in 1 ... 6, the limit"),
    ):
        result = kpg_command("play", *server, *arguments)
        assert result.code == code, arguments
        assert words in one_line(result)


def test_play_says_what_is_missing(kpg_command: Kpg, run: Run) -> None:
    for arguments, code, words in (
        ([LETTERS, "--server", "localhost:1"], 2, "--prompt"),
        ([run.directory], 2, "--prompt"),
        ([LETTERS, "--prompt", "a"], 2, "--server"),
        ([run.directory, "--prompt", "a", "--temperature", "2"], 2, "--temperature"),
        ([run.directory, "--prompt", ""], 1, "must have at least one"),
    ):
        result = kpg_command("play", *arguments)
        assert result.code == code, arguments
        assert words in one_line(result)


def test_the_doctor_looks_at_environments(kpg_command: Kpg) -> None:
    result = kpg_command("doctor", LETTERS)
    assert result.code == 2
    assert "judges texts" in one_line(result)


def test_list(kpg_command: Kpg) -> None:
    assert set(TEXTS.ids()) <= set(kpg_command("list", "--json").values["presets"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["text:leters"], "text:letters"),
        ([LETTERS, "--set", "hiden_dim=8"], "hidden_dim"),
        ([LETTERS, "--set", "hidden_dim=7"], "num_heads=2"),
        ([LETTERS, "--set", "num_steps=24"], "at most 24 tokens"),
        ([LETTERS, "--set", "temperature=0"], "temperature=0"),
        ([LETTERS, "--set", "pretraining_epochs=-1"], "pretraining_epochs=-1"),
        ([LETTERS, "--set", "pretraining_learning_rate=0"], "greater than 0"),
        ([LETTERS, "--set", "texts=[]"], "pretraining_epochs=0"),
        ([LETTERS, "--set", 'rewards=[{"class_name": "Blue"}]'], "'Blue'"),
        ([LETTERS, "--set", "group_size=3"], "group_size=3"),
        ([LETTERS, "--set", 'prompts=["a"]'], "lists of strings"),
    ],
)
def test_train_refuses_bad_settings(
    kpg_command: Kpg,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = kpg_command("train", *arguments)
    assert result.code == 2
    assert words in one_line(result)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", TEXTS.ids())
@pytest.mark.parametrize("recipe", ["grpo", "rloo"])
def test_every_preset_is_accepted_by_a_recipe(name: str, recipe: str) -> None:
    trainer, env = TEXTS.build(
        TEXTS.chosen_preset(name, {"algorithm": recipe}), Seeds.derived(0)
    )
    trainer.check_environment(env)
    assert env.group_size == 8 and trainer.critic is None
    own = TEXTS.chosen_preset(name, {"algorithm": recipe, "group_size": 4})
    assert own.task["group_size"] == own.trainer["group_size"] == 4


def test_a_baseline_takes_the_critic_s_place() -> None:
    settings = {"algorithm": "REINFORCE", "baseline": "leave_one_out"}
    preset = TEXTS.chosen_preset(LETTERS, {**settings, "returns": "total"})
    trainer, env = TEXTS.build(preset, Seeds.derived(0))
    assert trainer.critic is None and env.group_size == 8


@pytest.mark.parametrize("name", TEXTS.ids())
@pytest.mark.parametrize("algorithm", algorithms.KNOWN)
def test_every_preset_is_accepted_by_every_trainer(name: str, algorithm: str) -> None:
    preset = TEXTS.chosen_preset(name, {"algorithm": algorithm})
    parts = train.build(preset, Seeds.derived(0))
    assert isinstance(parts.env, TextGeneration)
    assert type(parts.trainer).__name__ == algorithm
    assert parts.schedule.total_steps > 0.9 * preset.total_steps
    assert parts.trainer.settings.num_steps == parts.env.max_new_tokens
    assert parts.validation.num_envs == 32


def test_a_supervised_start_has_one_replica() -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope(), pytest.raises(ValueError, match="pretraining_epochs=0, or"):
        TEXTS.build(TEXTS.load(LETTERS), Seeds.derived(0))


def test_another_seed_is_another_order_of_the_prompts() -> None:
    fields = vars(TEXTS.load(LETTERS))
    first, same, other = (TEXTS.evaluation(fields, 4, seed) for seed in (0, 0, 1))
    assert isinstance(first, TextGeneration) and isinstance(same, TextGeneration)
    assert isinstance(other, TextGeneration)
    assert (first.chosen(0) == same.chosen(0)).all()
    assert (first.chosen(0) != other.chosen(0)).any()


def test_a_group_is_one_of_trainer_and_task_alike() -> None:
    settings = {"algorithm": "REINFORCE", "baseline": "leave_one_out", "group_size": 4}
    preset = TEXTS.chosen_preset(LETTERS, settings)
    assert preset.trainer["group_size"] == preset.task["group_size"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [*algorithms.KNOWN, "grpo", "rloo"])
def test_letters_are_learned_in_a_minute(
    kpg_command: Kpg, tmp_path: Path, algorithm: str
) -> None:
    flags = ("--algorithm", algorithm, "--output", tmp_path / "run", "--json")
    values = kpg_command("train", LETTERS, *flags).values
    assert values["return_mean"] > 0.9
    assert values["wall_seconds"] < 120
