from __future__ import annotations

import re
import subprocess
import sys

import pytest

COMPLETE = """
{script}
COMP_WORDS=({words} "{last}")
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_shtab_kpg 2>/dev/null
echo "${{COMPREPLY[*]}}"
"""


@pytest.fixture(scope="module")
def bash() -> str:
    return script("bash")


def script(shell: str) -> str:
    """What a fresh process prints, which must not load TensorFlow."""
    code = (
        "import sys; from kpg.cli.main import main\n"
        "try: main(['--completion', sys.argv[1]])\n"
        "finally: sys.exit('tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", code, shell]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("words", "last", "found"),
    [
        ("kpg", "tr", "train"),
        ("kpg train", "Cart", "CartPole-v1"),
        ("kpg train CartPole-v1", "--gam", "--gamma"),
        ("kpg train CartPole-v1", "--no-normalize-r", "--no-normalize-rewards"),
        ("kpg train CartPole-v1 --strategy", "mi", "mirrored"),
        ("kpg export run model --format", "l", "litert"),
        ("kpg film run", "--wi", "--width"),
    ],
)
def test_bash_completes(bash: str, words: str, last: str, found: str) -> None:
    code = COMPLETE.format(script=bash, words=words, last=last)
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [found]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_know_the_flags(shell: str) -> None:
    text = script(shell)
    assert re.search(r"normalize-rewards", text) and "MountainCar-v0" in text
    assert text.count("\n") > 200
