from __future__ import annotations

from tests.command_line import Kpg


def test_list(kpg_command: Kpg) -> None:
    values = kpg_command("list", "--json").values
    assert {"CartPole-v1", "MountainCar-v0"} <= set(values["presets"])
    assert {"CartPole-v1", "MountainCar-v0"} <= set(values["in_graph"])
    assert "MountainCar-v0" in kpg_command("list").out
