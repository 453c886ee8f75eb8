"""The settings of `kpg train` as their sources declare them; nothing is imported.

What a setting is called, takes and does is read from the class that has it: to import
that takes TensorFlow's seconds.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kpg import checks

_TRAINER = "trainers/settings.py:TrainerArguments"
# What declares the settings of each owner. Of arguments that are a `TypedDict`, the
# settings class beside it has the docstrings.
_OWNERS: dict[str, tuple[str, ...]] = {
    "Preset": ("cli/preset.py:Preset",),
    "PPO": (_TRAINER, "trainers/ppo.py:PPOArguments"),
    "ActorCritic": (_TRAINER, "trainers/actor_critic.py:ActorCriticArguments"),
    "REINFORCE": (_TRAINER, "trainers/reinforce.py:REINFORCEArguments"),
    "Policy": ("models/policy.py:Policy",),
    "texts": (
        "language/pretrained/small_models.py:gpt2",
        "models/language/causal_lm_policy.py:CausalLMPolicy",
    ),
    "Task": ("cli/language/task.py:Task",),
}
# These follow from the task, or cannot be written on a command line; a byte tokenizer
# has no start token, one end, no special ones and no template.
_NOT_SETTINGS = {
    *("self", "env", "policy", "trainer", "task", "executor", "name", "backbone"),
    *("observation_space", "action_space", "seed", "vocabulary_size", "causal_lm"),
    *("tokenizer", "add_start_token", "special_tokens", "end_tokens"),
    "chat_template",
}
# Arguments of options that may be written flat, and others that are explained where
# they end up.
_KL = "trainers/learning/reference.py:KL"
_REPLAY = "trainers/learning/replay.py:Replay"
_ESTIMATORS = "advantages/estimators.py"
_BASELINES = "advantages/baselines.py"
_NORMAL = "distributions/distribution.py:Normal"
_TRUNCATED = "distributions/truncated.py:TruncatedFamily"
_ELSEWHERE = {
    "reference_kl_coef": f"{_KL}.coef",
    "reference_kl_in": f"{_KL}.inside",
    "reference_kl_estimator": f"{_KL}.estimator",
    "reference_kl_target": f"{_KL}.target",
    "reference_kl_horizon": f"{_KL}.horizon",
    "reference_kl_dtype": f"{_KL}.dtype",
    "replay_num_fragments": f"{_REPLAY}.num_fragments",
    "replay_ratio": f"{_REPLAY}.ratio",
    "gae_lambda": f"{_ESTIMATORS}:GAE.gae_lambda",
    "n_step": f"{_ESTIMATORS}:NStep.n",
    "clip_rho": f"{_ESTIMATORS}:VTrace.clip_rho",
    "clip_c": f"{_ESTIMATORS}:VTrace.clip_c",
    "baseline_decay": f"{_BASELINES}:MovingAverage.decay",
    "group_size": f"{_BASELINES}:GroupBaseline.group_size",
    "group_scale": f"{_BASELINES}:GroupNormalized.scale",
    "target_kl": "trainers/algorithm.py:Updates.target_kl",
    "distribution": "distributions/construction.py:for_space.distribution",
    "state_dependent_std": f"{_NORMAL}.state_dependent_std",
    "log_std_init": f"{_NORMAL}.log_std_init",
    "top_k": f"{_TRUNCATED}.top_k",
    "top_p": f"{_TRUNCATED}.top_p",
    "min_p": f"{_TRUNCATED}.min_p",
}
_ROOT = Path(__file__).parents[1]
_SEE = re.compile(r"See `[\w.]+`(?:[.;] ?|$)")
_ENTRY = re.compile(r"    ([\w*]+(?:, [\w*]+)*): *(.*)")
# What the simple kinds are called in messages, and in Python.
_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "bool": ("True or False", (bool,)),
    "str": ("text", (str,)),
    "None": ("None", (type(None),)),
}


class Setting(NamedTuple):
    """A setting, the owners that have it, its types, and what it does."""

    name: str
    owners: tuple[str, ...]
    kinds: tuple[str, ...]
    text: str


class _Declaration(NamedTuple):
    kinds: dict[str, str]
    texts: dict[str, str]


@functools.cache
def settings() -> dict[str, Setting]:
    """Returns all settings by name."""
    owners: dict[str, list[str]] = {}
    kinds: dict[str, list[str]] = {}
    for owner, places in _OWNERS.items():
        for place in places:
            for name, kind in _declaration(place).kinds.items():
                if name not in _NOT_SETTINGS:
                    owners.setdefault(name, []).append(owner)
                    kinds.setdefault(name, []).extend(kind.split(" | "))
    return {
        name: Setting(
            name, tuple(own), tuple(dict.fromkeys(kinds[name])), _explained(name, own)
        )
        for name, own in owners.items()
    }


def names(*owners: str) -> list[str]:
    """Returns the names of the settings of some owners."""
    found = settings().values()
    return [one.name for one in found if not set(owners).isdisjoint(one.owners)]


def unknown(owner: str, name: str, known: Collection[str]) -> ValueError:
    """Returns the error for a setting that an owner has not, with the closest ones."""
    close = checks.hint(name, sorted(set(known)))
    return ValueError(f"{owner} has no setting {name!r}. {close} Received: {name}")


def check(given: Mapping[str, object], *owners: str) -> None:
    """Raises a `ValueError` for a name that no owner has, or a value of a wrong type.

    Whether a value is in its range, only the setting's own class knows.
    """
    known = names(*owners)
    for name, value in given.items():
        if name not in known:
            raise unknown(owners[0], name, known)
        check_type(settings()[name], value)


def check_type(setting: Setting, value: object) -> None:
    """Raises a `ValueError` if a value is of none of a setting's types.

    Those that are not numbers, flags or texts have many spellings, and pass.
    """
    if not set(setting.kinds) <= set(_KINDS):
        return
    for kind in setting.kinds:
        if isinstance(value, _KINDS[kind][1]) and (
            kind == "bool" or not isinstance(value, bool)
        ):
            return
    checks.refuse(setting.name, f"must be {wanted(setting)}", value)


def wanted(setting: Setting) -> str:
    """Returns what a setting takes, in words."""
    return " or ".join(_KINDS[kind][0] for kind in setting.kinds if kind in _KINDS)


def _explained(name: str, owners: Sequence[str]) -> str:
    """Returns what the docstrings of all owners say about a setting, once each.

    What only adds to another docstring stands behind it, with the owner's name.
    """
    first: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    if name in _ELSEWHERE:
        place, _, argument = _ELSEWHERE[name].rpartition(".")
        first.append((owners[0], _declaration(place).texts[argument]))
    for place in dict.fromkeys(p for owner in owners for p in _OWNERS[owner]):
        text = _declaration(place).texts.get(name, "")
        owner = re.sub(r".*:|Arguments$", "", place)
        more = _SEE.sub("", text)
        if name in _ELSEWHERE and more.startswith("Default"):
            continue  # said there
        (first if more == text else others).append((owner, more))
    pieces = [(owner, text) for owner, text in (*first, *others) if text]
    alone = sum(bool(text) for _, text in first) == 1
    said = [
        text if alone and index == 0 else f"{owner}: {text}"
        for index, (owner, text) in enumerate(pieces)
    ]
    return pieces[0][1] if len(pieces) == 1 else " ".join(said)


@functools.cache
def _declaration(place: str) -> _Declaration:
    """Reads the fields or arguments of "file:Name", and what the docstring says."""
    path, _, name = place.partition(":")
    nodes = {
        node.name: node
        for node in _tree(path).body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef))
    }
    told = nodes[re.sub("Arguments$", "Settings", name)]
    text = ast.get_docstring(told) or ""
    return _Declaration(dict(_fields(nodes[name])), dict(_entries(text)))


@functools.cache
def _tree(path: str) -> ast.Module:
    return ast.parse((_ROOT / path).read_text(encoding="utf-8"))


def _fields(node: ast.ClassDef | ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """Yields the names and annotations of a class's fields, or of arguments."""
    if isinstance(node, ast.FunctionDef):
        for argument in (*node.args.args, *node.args.kwonlyargs):
            if argument.annotation is not None:
                yield argument.arg, ast.unparse(argument.annotation)
        return
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            yield from _fields(member)
        elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            kind = ast.unparse(member.annotation)
            if not kind.startswith("ClassVar"):
                yield member.target.id, kind


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yields what a docstring says about each argument or attribute."""
    sections = re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?)+)", text, re.M)
    for line in "".join(sections).replace("\n        ", " ").splitlines():
        if entry := _ENTRY.fullmatch(line):
            for name in entry[1].split(", "):
                yield name, entry[2]
