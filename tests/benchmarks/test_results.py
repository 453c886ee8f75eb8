from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpg.cli.environments import Environments

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Any:
    # It stands beside what it imports, as a script does.
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("results")


def run(seed: int, value: float, algorithm: str = "PPO") -> dict[str, Any]:
    preset = Environments().load("CartPole-v1", algorithm)
    return {
        "env": "CartPole-v1",
        "algorithm": algorithm,
        "seed": seed,
        "return_mean": value,
        "env_steps": 1024,
        "cpu_seconds": 10.0 + seed,
        "settings": json.loads(json.dumps(dataclasses.asdict(preset))),
        "curve": [[512, value / 2], [1024, value]],
    }


class TestResults:
    # An installed wheel has no benchmarks; a checkout always has.
    __test__ = BENCHMARKS.is_dir()

    def test_runs_of_other_settings_are_dropped(self, results: Any) -> None:
        now, before = run(0, 500.0), run(1, 400.0)
        before["settings"]["learning_rate"] = 9.0
        unknown = {**run(2, 1.0), "env": "Blackjack-v1"}
        assert results.current([now, before, unknown]) == [now]

    def test_a_setting_that_came_up_since_has_its_default(self, results: Any) -> None:
        earlier, other = run(0, 500.0), run(1, 400.0)
        del earlier["settings"]["validation_episodes"]
        other["settings"]["gone"] = 1
        assert results.current([earlier, other]) == [earlier]

    def test_seeds_in_the_graph_take_turns_after_the_first(self, results: Any) -> None:
        assert results.turns("CartPole-v1", [0, 1, 2, 3]) == [[0], [1, 2, 3]]
        assert results.turns("CartPole-v1", [4, 6, 7]) == [[4], [6, 7]]
        assert results.turns("CartPole-v1", [0, 2, 5]) == [[0], [2], [5]]
        assert results.turns("Walker2d-v5", [0, 1]) == [[0], [1]]
        assert results.turns("CartPole-v1", [3]) == [[3]]
        assert results.turns("CartPole-v1", []) == []

    def test_a_row_measured_anew_has_no_earlier_runs(self, results: Any) -> None:
        earlier, other = run(0, 500.0), run(0, 490.0, "ActorCritic")
        new = {**run(1, 480.0), "last_mean": 470.0}
        assert results.current([earlier, other, new]) == [other, new]

    def test_what_was_written_is_read(self, results: Any, tmp_path: Path) -> None:
        path = tmp_path / "results.jsonl"
        assert results.read(path) == []
        runs = [run(0, 500.0), run(1, 490.5, "ActorCritic")]
        results.write(path, runs)
        assert results.read(path) == runs
        assert len(path.read_text("utf-8").splitlines()) == 2

    def test_a_row_says_what_the_runs_were(self, results: Any) -> None:
        runs = [run(seed, value) for seed, value in enumerate([500.0, 490.0, 480.5])]
        runs[2]["last_mean"] = 300.0
        runs[2]["curve"][-1][1] = -1.0
        runs[1]["curve"][-1][1] = 520.5
        runs += [{**run(0, 500.0, "ActorCritic"), "last_mean": 500.0}]
        del runs[-1]["cpu_seconds"]
        title, rule, first, second = results.table(results.groups(runs))
        assert title.count("|") == rule.count("|") == first.count("|")
        cells = [cell.strip() for cell in first.strip("|").split("|")]
        assert cells[:2] == ["CartPole-v1", "PPO"]
        # Of last models the validation tells, unless they were measured.
        assert cells[2:4] == ["440.2 ± 302.6", "300"]
        assert cells[4:6] == ["490.2 ± 24.2", "480.5"]
        assert cells[6:8] == ["499", "**none**"]
        # The dagger says that some are of an earlier version.
        assert cells[8:11] == ["3 †", "1,024", "11 s"]
        assert cells[-1] == "`kpg train CartPole-v1 --seed N`"
        assert "| 499 | every last model | 1 | 1,024 | – |" in second
        assert "`kpg train CartPole-v1 --algorithm ActorCritic --seed N`" in second

    @pytest.mark.parametrize(
        ("last", "best", "words"),
        [
            ([3.0, 2.0], [3.0, 3.0], "every last model"),
            ([9.0, 1.0], [9.0, 3.0], "the last, in the mean"),
            ([9.0, -9.0], [9.0, 3.0], "**only the best**"),
            ([1.0, 1.0], [1.0, 1.0], "**none**"),
        ],
    )
    def test_a_row_is_reached_only_where_last_models_reach_it(
        self, results: Any, last: list[float], best: list[float], words: str
    ) -> None:
        assert results.verdict(np.array(last), np.array(best), 2.0) == words

    @pytest.mark.parametrize(
        ("value", "text"),
        [(-98.23, "−98.2"), (500.0, "500"), (5061.4, "5,061"), (-0.04, "0.0")],
    )
    def test_numbers(self, results: Any, value: float, text: str) -> None:
        assert results.number(value) == text

    def test_scores_are_0_for_random_actions_and_1_at_the_bar(
        self, results: Any
    ) -> None:
        for env, known in results.references().items():
            ends = np.array([known["random"], results.bar(env, "PPO")])
            np.testing.assert_allclose(results.normalized(env, ends), [0.0, 1.0])

    def test_every_preset_has_references(self, results: Any) -> None:
        assert set(Environments().ids()) <= set(results.references())

    @pytest.mark.parametrize("length", [1, 50, 51, 777])
    def test_curves_keep_their_ends(self, results: Any, length: int) -> None:
        curve = [(step, float(step)) for step in range(length)]
        kept = results.thinned(curve)
        assert len(kept) == min(length, 50)
        assert kept[0] == curve[0]
        assert kept[-1] == curve[-1]
        assert kept == sorted(set(kept))

    def test_the_page_gets_table_and_pictures(
        self, results: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(results, "IMAGES", tmp_path)
        page = tmp_path / "results.md"
        page.write_text(f"above\n{results.BEGIN}\nold\n{results.END}\nbelow\n", "utf-8")
        rows = [run(seed, 400.0 + seed, "PPO") for seed in range(3)]
        rows += [run(seed, 500.0, "ActorCritic") for seed in range(3)]
        results.write_page(page, results.groups(rows))
        text = page.read_text("utf-8")
        assert text.startswith("above\n<!--")
        assert text.endswith("-->\nbelow\n")
        assert "old" not in text
        assert text.count("| CartPole-v1 |") == 2
        for name in ("scores.png", "learning_curves.png"):
            picture = (tmp_path / name).read_bytes()
            assert picture.startswith(b"\x89PNG")
            assert len(picture) < 200_000

    def test_a_page_without_markers_is_refused(
        self, results: Any, tmp_path: Path
    ) -> None:
        page = tmp_path / "results.md"
        page.write_text("nothing\n", "utf-8")
        with pytest.raises(ValueError, match=r"must hold <!--.*Received"):
            results.write_page(page, {})
