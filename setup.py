"""The package: what is installed, and from which folder.

The folders `models/`, `trainers/` and `export/` stand at the top of the repository and
are installed inside `kpg`, so that nothing is added to the global namespace: the links
`kpg/models`, `kpg/trainers` and `kpg/export` lead to them. The folder `src/` holds only
a link to `kpg/`. So an editable install puts `src/` on the path and nothing beside it,
and type checkers find the package there as they find any other.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

REQUIRES = [
    "tensorflow>=2.18",
    "keras>=3.6",
    "tensorflow-probability[tf]>=0.25",
    "keras-nlp>=0.18",
    "gymnasium>=1.1",
    "tensorflow-serving-api>=2.18",
    "grpcio>=1.62",
    "protobuf>=5.26",
    "matplotlib>=3.8",
    "ml-dtypes>=0.4",
    "numpy>=1.26",
    # Keras brings the second, KerasHub the first; the third, 250 kB without anything
    # else, writes what a shell needs to complete flags.
    "pyyaml>=6",
    "rich>=13",
    "shtab>=1.13",
    "typing-extensions>=4.10",
]

TOOLS = [
    "build>=1.2",
    "imageio-ffmpeg>=0.5",
    "keras-tuner>=1.4",
    "mypy>=1.11",
    "prometheus_client>=0.20",
    "pyright[nodejs]>=1.1.390",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.5",
    "regex>=2024.4",
    "ruff>=0.8",
    "scipy>=1.11",
    "setuptools>=77",
]

TEXT = [
    "pyspellchecker>=0.8",
    "sacrebleu>=2.4",
    "vaderSentiment>=3.3",
]

GGUF = ["gguf>=0.17"]

CHAT = ["jinja2>=3.1"]

ONNX = ["tf2onnx>=1.16", "onnx>=1.16", "onnxruntime>=1.18"]

# Health checks and reflection of gRPC, and an HTTP server for REST and metrics.
SERVE = [
    "grpcio-health-checking>=1.62",
    "grpcio-reflection>=1.62",
    "waitress>=3.0.1",
]

TUNE = ["optuna>=4.0"]

# The site, which is built without kpg (ruff breaks its signatures into lines), and what
# runs its notebooks.
DOCS = ["zensical>=0.0.70", "mkdocstrings[python]>=1", "ruff>=0.8"]
NOTEBOOKS = ["ipykernel>=6.29", "nbclient>=0.10"]

EXTRAS = {
    # By what one wants to do ...
    "film": ["gymnasium[classic-control]", "imageio-ffmpeg>=0.5"],
    "serve": SERVE,
    "text": TEXT,
    "tune": TUNE,
    # ... to train in ...
    "atari": ["gymnasium[atari]", "opencv-python-headless>=4.8"],
    "box2d": ["gymnasium[box2d]"],
    "envpool": ["envpool>=1.2"],
    "mujoco": ["gymnasium[mujoco]"],
    # ... to train on, to read, to write ...
    "chat": CHAT,
    "gguf": GGUF,
    "gpu": ["tensorflow[and-cuda]>=2.18"],
    "onnx": ONNX,
    "tensorboard": ["tensorboard>=2.18"],
    # ... and for those who work on kpg itself.
    "dev": [*TOOLS, *CHAT, *TEXT, *GGUF, *SERVE, *TUNE, "tensorboard>=2.18"],
    "docs": DOCS,
    "examples": [*TEXT, *GGUF],
    "notebooks": NOTEBOOKS,
}

KEYWORDS = [
    *("actor-critic", "gymnasium", "keras", "language models", "policy gradients"),
    *("ppo", "reinforce", "reinforcement learning", "rlhf", "tensorflow", "xla"),
]


def version() -> str:
    """Reads the version without importing the package and what it depends on."""
    scope: dict[str, str] = {}
    exec((ROOT / "src" / "kpg" / "version.py").read_text(encoding="utf-8"), scope)
    return scope["__version__"]


def description() -> str:
    """Returns the README without what only a checkout can show.

    A page of a package index has neither the pictures nor the files that the README
    links to: of such a link it keeps the text.
    """
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"!\[[^\]]*\]\((?!https?:)[^)]*\)\n*", "", text)
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)", r"\1", text)


setup(
    name="kpg",
    version=version(),
    description="Keras Policy Gradients: train, export and serve policies.",
    long_description=description(),
    long_description_content_type="text/markdown",
    keywords=KEYWORDS,
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages("src"),
    package_dir={"": "src"},
    package_data={
        "kpg": ["py.typed"],
        "kpg.cli": ["presets/*.json", "spaces/*.json"],
        "kpg.cli.language": ["presets/*.json"],
    },
    include_package_data=False,
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["kpg = kpg.cli.main:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
