"""What `docs/export.md` says: its commands and its code run."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.cli import flags
from kpg.cli.main import main
from kpg.doctor import saved_models
from kpg.export import Client, Server
from tests.command_line import SMALL

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "export.md"
ADDRESS = "127.0.0.1:8500"  # of the server on the page
BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def commands(text: str) -> list[list[str]]:
    """Returns the arguments of each `kpg` in a block of the shell."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("kpg ")]


def interpreter(model_path: str) -> Any:
    """Returns LiteRT's interpreter in TensorFlow, which recommends the other one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tf.lite.Interpreter(model_path)


def wait_for(client: Client, version: int) -> None:
    """Returns once a server that polls has found a version."""
    deadline = time.monotonic() + 60
    while (version, "AVAILABLE", "") not in client.status():
        assert time.monotonic() < deadline, client.status()
        time.sleep(0.1)


class TestPage:
    # An installed wheel has no documentation; a checkout always has.
    __test__ = (ROOT / "setup.py").is_file()

    def test_the_commands_are_understood(self) -> None:
        parser = flags.parser()
        found = [
            parser.parse_args(arguments).command
            for kind, text in blocks()
            if kind == "sh"
            for arguments in commands(text)
        ]
        assert found.count("export") == 5
        assert {"train", "export", "doctor", "serve", "play"} == set(found)

    def test_every_finding_is_named(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        assert all(f"`{name}`" in text for name in saved_models.NAMES)

    def test_the_container_starts_what_there_is(self) -> None:
        pytest.importorskip("kpg.cli.serving_flags")
        text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
        entry = json.loads(text.rpartition("ENTRYPOINT ")[2])
        options: Any = flags.parser().parse_args(entry[1:])
        assert (options.command, options.host) == ("serve", "0.0.0.0")
        assert (options.port, options.rest_api_port) == (8500, 8501)

    @pytest.mark.slow
    def test_commands_and_code_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        if importlib.util.find_spec("ai_edge_litert") is None:
            same = SimpleNamespace(Interpreter=interpreter)
            monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", same)
        onnx = importlib.util.find_spec("tf2onnx") is not None
        names: dict[str, Any] = {"__name__": "page"}
        server: Any = None
        address = ADDRESS
        for kind, text in blocks():
            if "onnx" in text and not onnx:
                continue
            if kind == "python":
                with Client(address) as client:
                    wait_for(client, 3)
                exec(text.replace(ADDRESS, address), names)
                continue
            for arguments in commands(text):
                if arguments[0] == "serve":
                    server = Server(arguments[1], port=0).start()
                    address = server.address
                    continue
                arguments = [address if one == ADDRESS else one for one in arguments]
                short = SMALL if arguments[0] == "train" else []
                assert main([*arguments, *short]) == 0, arguments
        server.stop()
        assert {path.name for path in Path("servables/cart_pole").iterdir()} == {
            "2",
            "3",
        }
        assert names["labelled"] == {2, 3} and names["action"].shape == ()
        assert names["actions"].shape == (200,) and len(names["many"]) == 10
        for found in ("device", "greedy") if onnx else ("device",):
            np.testing.assert_array_equal(names[found], names["outputs"]["action"])
