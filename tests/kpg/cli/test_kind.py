from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kpg.cli.environments import Environments
from kpg.cli.kind import Seeds, kind_of, kinds, player_of
from kpg.cli.language.texts import Texts


def test_an_id_begins_with_the_prefix_of_its_kind() -> None:
    assert type(kind_of("text:letters")) is Texts
    for id in ("CartPole-v1", "mine:Line-v0", "envpool:Pong-v5", ""):
        assert type(kind_of(id)) is Environments


def test_every_preset_belongs_to_its_kind() -> None:
    for kind in kinds():
        assert kind.ids()
        for id in kind.ids():
            assert type(kind_of(id)) is type(kind)
            assert kind.load(id).env == id


@pytest.mark.parametrize(
    ("env", "prompts", "server", "kind"),
    [
        ("CartPole-v1", [], "localhost:1", Environments),
        ("CartPole-v1", ["a"], None, Environments),
        ("anything", ["a"], "localhost:1", Texts),
        ("text:letters", [], None, Texts),
        ("run", [], None, Texts),
    ],
)
def test_prompts_are_completed_by_what_takes_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    env: str,
    prompts: list[str],
    server: str | None,
    kind: type[object],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run", "settings.json").write_text('{"env": "text:letters"}')
    options = argparse.Namespace(env=env, prompts=prompts, server=server)
    assert type(player_of(options)) is kind


def test_one_seed_gives_different_seeds_to_all_parts() -> None:
    seeds = Seeds.derived(0)
    assert len(set(seeds)) == len(seeds)
    assert seeds == Seeds.derived(0)
    assert not set(seeds) & set(Seeds.derived(1))
    assert all(0 <= seed < 2**31 for seed in seeds)
