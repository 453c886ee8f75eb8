from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import kpg

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(kpg.__file__).resolve().parent
DATA = {
    "kpg/py.typed",
    *(
        f"kpg/{file.relative_to(PACKAGE).as_posix()}"
        for file in (PACKAGE / "cli").rglob("*.json")
    ),
}


def build_wheel(directory: Path) -> set[str]:
    """Builds a wheel from a copy of the checkout; returns the names in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    copy = directory / "copy"
    for name in listed.stdout.decode().split("\0"):
        source, target = ROOT / name, copy / name
        if name and (source.is_file() or source.is_symlink()):
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                target.symlink_to(source.readlink())
            else:
                target.write_bytes(source.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "."],
        cwd=copy,
        capture_output=True,
        check=True,
    )
    (wheel,) = copy.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def modules() -> set[str]:
    """The modules of the package that these tests import, as a wheel names them."""
    folders = {"kpg": PACKAGE}
    for name in ("models", "trainers", "export"):
        folders[f"kpg/{name}"] = (PACKAGE / name).resolve()
    return {
        f"{prefix}/{path.relative_to(folder).as_posix()}"
        for prefix, folder in folders.items()
        for path in folder.rglob("*.py")
    }


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What a wheel of this checkout holds, or what an installed wheel did."""
    if (ROOT / "setup.py").is_file():
        return build_wheel(tmp_path_factory.mktemp("wheel"))
    files = importlib.metadata.files("kpg") or []
    names = {path.as_posix() for path in files}
    return {name for name in names if not name.startswith("../") and ".pyc" not in name}


def test_the_wheel_holds_every_module_and_nothing_else(shipped: set[str]) -> None:
    package = {name for name in shipped if ".dist-info/" not in name}
    assert package == modules() | DATA
    assert {"kpg/models/policy.py", "kpg/cli/commands/train.py"} <= package
    assert len(DATA) >= 5


def test_the_license_is_shipped(shipped: set[str]) -> None:
    assert any(name.endswith("LICENSE") for name in shipped)


def test_the_version_is_that_of_the_distribution() -> None:
    assert importlib.metadata.version("kpg") == kpg.__version__


@pytest.mark.parametrize(
    "statement",
    [
        "import kpg",
        "import kpg.cli.main",
        "import kpg.cli.preset, kpg.cli.runs, kpg.cli.kind",
        "from kpg.export import Client",
        "import kpg.cli.environments, kpg.cli.playing, kpg.cli.language.texts",
        "import kpg; kpg.export; dir(kpg)",
        "from kpg.cli.main import main; main(['list'])",
    ],
)
def test_light_imports_leave_tensorflow_out(statement: str) -> None:
    code = f"{statement}\nimport sys\nsys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_answers_at_once() -> None:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        result = subprocess.run(
            [sys.executable, "-m", "kpg", "--help"], capture_output=True, text=True
        )
        seconds.append(time.perf_counter() - started)
        assert result.returncode == 0
        assert "train" in result.stdout
    assert min(seconds) < 1.0


def test_the_console_script_is_the_command_line() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="kpg")
    assert script.value == "kpg.cli.main:main"
