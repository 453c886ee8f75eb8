from __future__ import annotations

import email
import email.message
import importlib.metadata
import re
import subprocess
import sys
import tarfile
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


def copy_of_the_checkout(directory: Path) -> Path:
    """Copies what git would commit, links as links; returns the folder."""
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
    return copy


def files_in(wheel: Path) -> dict[str, str]:
    """Returns the text of each file in a wheel by its name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def build(folder: Path, kind: str) -> Path:
    """Builds an "sdist", a "wheel" or an "editable" of a source; returns the file."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({kind!r})"
    (folder / kind).mkdir()
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    (made,) = (folder / kind).iterdir()
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The files of a wheel of this checkout, and of one that only leads to it.

    The wheel is made of the archive of sources, as a release is.
    """
    if not (ROOT / "setup.py").is_file():
        pytest.skip("an installed wheel has no checkout")
    folder = tmp_path_factory.mktemp("wheel")
    copy = copy_of_the_checkout(folder)
    with tarfile.open(build(copy, "sdist")) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.glob("kpg-*")
    wheel, editable = build(unpacked, "wheel"), build(copy, "editable")
    return {"wheel": files_in(wheel), "editable": files_in(editable)}


def metadata_of(files: dict[str, str]) -> email.message.Message:
    """Returns the metadata in a wheel; its payload is the description."""
    (name,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    return email.message_from_string(files[name])


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
def shipped(request: pytest.FixtureRequest) -> set[str]:
    """What a wheel of this checkout holds, or what an installed wheel did."""
    if (ROOT / "setup.py").is_file():
        return set(request.getfixturevalue("built")["wheel"])
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


def test_a_type_checker_finds_an_editable_install(
    built: dict[str, dict[str, str]],
) -> None:
    # A checker follows a path that is written down, and no finder that is a program.
    files = {name: text for name, text in built["editable"].items() if "/" not in name}
    ((name, text),) = files.items()
    assert name.endswith(".pth")
    assert Path(text.strip()).name == "src"
    inside = {path.name for path in (ROOT / "src").iterdir()}
    assert {name for name in inside if not name.endswith(".egg-info")} == {"kpg"}
    assert (ROOT / "src" / "kpg" / "py.typed").is_file()


def test_the_metadata_name_nobody_and_no_place(
    built: dict[str, dict[str, str]],
) -> None:
    metadata = metadata_of(built["wheel"])
    assert not {"Author", "Author-Email", "Maintainer", "Home-Page"} & set(metadata)
    assert len(metadata["Keywords"].split(",")) >= 5
    assert "http" not in metadata["Keywords"]


def test_the_description_has_no_link_into_the_checkout(
    built: dict[str, dict[str, str]],
) -> None:
    text = metadata_of(built["wheel"]).get_payload()
    assert isinstance(text, str) and "## From Python" in text and "docs/" in text
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert all(link.startswith(("https:", "#")) for link in links), links


def test_what_kpg_is_built_on_is_required_and_extras_say_what_for(
    built: dict[str, dict[str, str]],
) -> None:
    metadata = metadata_of(built["wheel"])
    always = {
        re.split(r"[\[><=;]", line)[0]
        for line in metadata.get_all("Requires-Dist", [])
        if "extra ==" not in line
    }
    assert {"tensorflow", "keras", "tensorflow-probability", "keras-nlp"} <= always
    assert {"gymnasium", "tensorflow-serving-api"} <= always
    extras = set(metadata.get_all("Provides-Extra", []))
    assert {"film", "tune", "text", "serve", "docs", "gpu"} <= extras
    assert {"box2d", "mujoco", "atari"} <= extras


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


def test_pictures_cost_nothing_until_they_are_drawn() -> None:
    # Keras imports matplotlib where it is installed; kpg does not.
    code = (
        "import kpg.cli.commands.train, kpg.cli.commands.plot, kpg.cli.plots, sys\n"
        "sys.exit('matplotlib' in sys.modules)"
    )
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
