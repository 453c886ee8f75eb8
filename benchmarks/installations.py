"""The peers' own virtual environments, from pinned requirements."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements"
# The other peers run on the Python that runs kpg.
PYTHONS = {
    "tf_agents": "3.11",
    "cleanrl": "3.10",
    "hugging_face": "3.11",
    "gpu": "3.12",
}


@functools.cache
def python_of(name: str, folder: Path) -> Path:
    """Returns the interpreter of an installation, which is made if there is none.

    Args:
        name: Name of a file in `requirements/`.
        folder: Where the virtual environments are.

    Raises:
        subprocess.CalledProcessError: If it cannot be installed here.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    home = folder.resolve() / name
    python, stamp = home / "bin" / "python", home / f"installed-{digest}"
    if not stamp.is_file():
        print(f"Installing {name} into {home} (once)", file=sys.stderr, flush=True)
        shutil.rmtree(home, ignore_errors=True)
        _uv("venv", "--python", interpreter(name), str(home))
        # The files are complete, and leave out what the scripts never import.
        _uv(
            *("pip", "install", "--no-deps", "--python", str(python)),
            *("--requirement", str(requirements)),
        )
        stamp.touch()
    return python


def _uv(*arguments: str) -> None:
    command = [sys.executable, "-m", "uv", "--quiet", *arguments]
    # What is set for kpg's environment is not for the peers'.
    kept = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    subprocess.run(command, check=True, env=kept)


def interpreter(name: str) -> str:
    """Returns the path of the Python that a peer needs.

    Where none is found it is the version, with which uv looks for one to download.
    """
    version = PYTHONS.get(name)
    if version is None:
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python")))
    for candidate in filter(None, candidates):
        # A link of pyenv to a version that is not active fails when it is called.
        if not subprocess.run([candidate, "--version"], capture_output=True).returncode:
            return candidate
    return version


def pinned(name: str, package: str) -> str:
    """Returns the version of a package in a file of `requirements/`.

    Raises:
        ValueError: If the file does not pin it.
    """
    text = (REQUIREMENTS / f"{name}.txt").read_text("utf-8")
    found = re.search(rf"^{re.escape(package)}==([^\s;]+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(
            f"requirements/{name}.txt must pin {package}. Received: {text}"
        )
    return found.group(1)
