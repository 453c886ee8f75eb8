"""Acting through episodes, against a server: nests, texts, masks and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import kpg
from kpg.cli import main as cli
from kpg.episodes import play
from kpg.export import Client, Player, Server, ServingError

OBSERVATIONS = spaces.Dict(
    {
        "legal": spaces.MultiBinary(5),
        "seen": spaces.Tuple(
            [spaces.Box(-1, 1, (2,), np.float32), spaces.Text(3, charset="abé")]
        ),
    }
)
ACTIONS = spaces.Tuple(
    [
        spaces.Discrete(3, start=-1),
        spaces.Dict({"left arm": spaces.Box(-1, 1, (2,), np.float32)}),
        spaces.MultiBinary(1),
    ]
)


class Recorder(gym.Env[Any, Any]):
    """Emits every kind of observation for four steps, and keeps what it sees."""

    observation_space = OBSERVATIONS
    action_space = ACTIONS

    def __init__(self) -> None:
        self.episodes: list[list[Any]] = []
        self.actions: list[list[Any]] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episodes.append([])
        self.actions.append([])
        return self._emit(), {}

    def step(self, action: Any) -> Any:
        assert ACTIONS.contains(action)
        self.actions[-1].append(action)
        return self._emit(), 1.0, False, len(self.actions[-1]) == 4, {}

    def _emit(self) -> Any:
        rng = self.np_random
        mask = rng.integers(2, size=5).astype(np.int8)
        mask[rng.integers(3)] = mask[rng.integers(3, 5)] = 1
        text = "".join(rng.choice(list("abé"), rng.integers(1, 4)))
        box = rng.uniform(-1, 1, 2).astype(np.float32)
        self.episodes[-1].append({"legal": mask, "seen": (box, text)})
        return self.episodes[-1][-1]


gym.register("KpgRecorder-v0", lambda **_: Recorder())


@pytest.fixture(scope="module")
def policy() -> Any:
    made = kpg.models.Policy(
        OBSERVATIONS,
        ACTIONS,
        hidden_units=(8,),
        memory="lstm",
        memory_units=6,
        action_mask="legal",
        seed=0,
    )
    rng = np.random.default_rng(0)
    for variable in made.trainable_variables:  # actions that depend on what was seen
        variable.assign_add(rng.normal(size=variable.shape).astype(np.float32))
    return made


@pytest.fixture(scope="module")
def server(policy: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("servables")
    kpg.export.export_policy(policy, directory)
    with Server(directory, port=0) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.address, action_space=ACTIONS) as connected:
        yield connected


def batch(observations: list[Any]) -> Any:
    """Batches as Gymnasium's vector environments do: texts are tuples of strings."""
    return {
        "legal": np.stack([one["legal"] for one in observations]),
        "seen": (
            np.stack([one["seen"][0] for one in observations]),
            tuple(one["seen"][1] for one in observations),
        ),
    }


def emitted(rows: int, steps: int) -> list[Any]:
    """Returns what `rows` environments emit in each of some steps."""
    envs = [Recorder() for _ in range(rows)]
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
        for _ in range(steps - 1):
            env._emit()
    return [batch([env.episodes[0][step] for env in envs]) for step in range(steps)]


def unrolled(policy: Any, observations: list[Any], resets: Any) -> list[Any]:
    """Returns the greedy actions of the live policy, step by step."""
    encoded = [kpg.spaces.encode(OBSERVATIONS, one) for one in observations]
    stacked = {
        "legal": np.stack([one["legal"] for one in encoded]),
        "seen": tuple(np.stack([one["seen"][i] for one in encoded]) for i in range(2)),
    }
    parameters, _ = policy.unroll(
        stacked, policy.initial_state(resets.shape[1]), resets
    )
    family = policy.family
    return [family.to_environment(family.mode(step)) for step in parameters]


def assert_actions(got: Any, right: Any) -> None:
    """Compares two nests of actions."""
    assert isinstance(got, tuple) and list(got[1]) == ["left arm"]
    np.testing.assert_array_equal(got[0], right[0])
    np.testing.assert_allclose(got[1]["left arm"], right[1]["left arm"], atol=1e-5)
    np.testing.assert_array_equal(got[2], right[2])


def test_a_player_is_the_policy_unrolled(policy: Any, client: Client) -> None:
    steps, rows = 6, 3
    observations = emitted(rows, steps)
    resets = np.zeros((steps, rows), bool)
    resets[0], resets[2, 1], resets[4, 0] = True, True, True
    right = unrolled(policy, observations, resets)
    player = Player(client)
    for step in range(steps):
        actions = player.act(observations[step], resets[step] if step else None)
        assert_actions(actions, right[step])
    forgetful = [client.act(one) for one in observations]
    arms = [one[1]["left arm"] for one in forgetful]
    assert not np.allclose(arms[5], right[5][1]["left arm"])  # the memory matters
    np.testing.assert_allclose(arms[0], right[0][1]["left arm"], atol=1e-5)


def test_reset_forgets(client: Client) -> None:
    player, (first, second) = Player(client), emitted(2, 2)
    begun = player.act(first)
    player.act(second)
    player.reset()
    assert_actions(player.act(first), begun)
    player.reset()
    assert len(player.act(emitted(5, 1)[0])[0]) == 5
    with pytest.raises(ServingError, match="must have the same number of rows"):
        player.act(first)


def test_a_player_can_sample(client: Client) -> None:
    (observations,) = emitted(20, 1)
    drawn = [Player(client).act(observations, seed=seed) for seed in (1, 1, 2)]
    assert_actions(drawn[1], drawn[0])
    assert not np.array_equal(drawn[2][1]["left arm"], drawn[0][1]["left arm"])


def test_step_takes_and_returns_the_state(policy: Any, client: Client) -> None:
    first, second = emitted(3, 2)
    _, state = client.step(first)
    assert {name: part.shape for name, part in state.items()} == {
        "state_0": (3, 6),
        "state_1": (3, 6),
    }
    actions, _ = client.step(second, state)
    right = unrolled(policy, [first, second], np.zeros((2, 3), bool))
    assert_actions(actions, right[1])


def test_without_an_action_space_parts_are_called_by_path(server: Server) -> None:
    (observations,) = emitted(2, 1)
    with Client(server.address) as client:
        actions = client.act(observations)
        assert set(actions) == {"0", "1_left_arm", "2"}
        sampled = client.sample(observations, seed=1)
        assert {"action_0", "logits_0", "loc_1_left_arm", "state_1"} < set(sampled)


def test_inputs_can_be_given_by_name(server: Server) -> None:
    (observations,) = emitted(2, 1)
    named = {
        "observation_legal": observations["legal"],
        "observation_seen_0": observations["seen"][0],
        "observation_seen_1": [text.encode() for text in observations["seen"][1]],
    }
    with Client(server.address) as client:
        by_name = client.predict(named)
        as_nest = client.predict(observations)
        np.testing.assert_array_equal(by_name["state_0"], as_nest["state_0"])
        state = {"state_0": as_nest["state_0"], "state_1": as_nest["state_1"]}
        on = client.predict({**named, **state})
        np.testing.assert_array_equal(
            on["state_0"], client.predict(observations, state=state)["state_0"]
        )
        assert not np.array_equal(on["state_0"], by_name["state_0"])


def test_a_policy_of_another_action_space(server: Server) -> None:
    (observations,) = emitted(1, 1)
    with Client(server.address, action_space=spaces.Discrete(3)) as client:
        with pytest.raises(ValueError, match=r"must act in Discrete\(3\).*action_0"):
            client.act(observations)


def test_a_mask_without_a_legal_action(client: Client) -> None:
    (observations,) = emitted(2, 1)
    observations["legal"][1, :3] = 0
    with pytest.raises(ServingError, match="mask legal must have a legal action") as e:
        client.act(observations)
    assert e.value.code == "INVALID_ARGUMENT"


def test_play_carries_the_state_within_episodes(policy: Any, client: Client) -> None:
    env = Recorder()
    player = Player(client)
    assert play(env, player, seed=5) == (4.0, 4)
    assert play(env, player, seed=None) == (4.0, 4)
    for episode, actions in zip(env.episodes, env.actions, strict=True):
        steps = [batch([one]) for one in episode[:4]]
        right = unrolled(policy, steps, np.zeros((4, 1), bool))
        for action, wanted in zip(actions, right, strict=True):
            assert action[0] == wanted[0][0]
            np.testing.assert_allclose(
                action[1]["left arm"], wanted[1]["left arm"][0], atol=1e-5
            )


def test_the_command(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["play", "KpgRecorder-v0", "--server", server.address, "--json"]
    assert cli.main([*arguments, "--episodes", "2"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["episodes"] == 2 and values["return_mean"] == 4.0


def test_an_environment_that_the_policy_was_not_made_for(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["play", "CartPole-v1", "--server", server.address])
    lines = capsys.readouterr().err.splitlines()
    assert code == 1 and len(lines) == 1
    assert "Missing but required" in lines[0]


def test_it_needs_no_tensorflow(server: Server) -> None:
    code = (
        "import sys\n"
        "from kpg.export import Client, Player\n"
        f"with Client({server.address!r}) as client:\n"
        "    player = Player(client)\n"
        "    seen = ([[0.1, 0.2]], ['ab'])\n"
        "    for _ in range(2):\n"
        "        actions = player.act({'legal': [[1] * 5], 'seen': seen}, [False])\n"
        "    print(sorted(actions))\n"
        "heavy = {'tensorflow', 'keras', 'gymnasium'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.splitlines() == ["['0', '1_left_arm', '2']", "[]"]
