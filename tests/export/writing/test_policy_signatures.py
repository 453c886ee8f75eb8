"""Every space, memory and mask: what is served is what the live policy does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces
from tensorflow_serving.apis import predict_pb2

import kpg
from kpg.export import ServingError
from kpg.export.loading.prediction import predict
from kpg.export.loading.servable import Servable
from kpg.export.wire import tensors
from kpg.export.writing import manifest, saved_model
from kpg.export.writing.offer import offer_of
from kpg.export.writing.policy_signatures import encoded

BOX = spaces.Box(-1.0, np.inf, (3,), np.float32)
TEXT = spaces.Text(5, charset="zaéß😀")
IMAGE = spaces.Box(0, 255, (9, 8, 1), np.uint8)
ARM = spaces.Box(np.array([-2, 0], np.float32), np.array([3, 0.1], np.float32))
NESTED = spaces.Tuple(
    [spaces.Discrete(3, start=-1), spaces.Dict({"bits": spaces.MultiBinary(2)})]
)
EVERYTHING = spaces.Dict(
    {
        "box": BOX,
        "small image": spaces.Box(0, 255, (4, 4, 1), np.uint8),
        "text": TEXT,
        "nested": NESTED,
        "many": spaces.MultiDiscrete([2, 4], start=[1, -3]),
    }
)
CHOICES = spaces.Tuple(
    [
        spaces.MultiDiscrete(np.array([[2, 3]]), start=np.array([[1, 2]])),
        spaces.MultiBinary(2),
    ]
)
HYBRID = spaces.Dict(
    {"move": ARM, "kind": spaces.Discrete(3, start=5), "rest": CHOICES}
)
MASKED = spaces.Dict({"legal": spaces.MultiBinary(12), "seen": BOX})

CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "everything": (EVERYTHING, HYBRID, {}),
    "text": (TEXT, spaces.MultiBinary([2, 2]), {}),
    "image-beta": (IMAGE, ARM, {"distribution": "beta"}),
    "discrete-tanh": (
        spaces.Discrete(4, start=2),
        ARM,
        {"distribution": "tanh_normal", "state_dependent_std": True},
    ),
    "masked-gru": (MASKED, HYBRID, {"action_mask": "legal", "memory": "gru"}),
    "lstm": (BOX, spaces.MultiDiscrete([3, 2]), {"memory": "lstm"}),
}


@dataclasses.dataclass
class Case:
    """A policy and its export."""

    policy: Any
    export: saved_model.Export
    servable: Servable

    def inputs(self, rows: int) -> dict[str, Any]:
        """Returns made-up inputs of `serving_default`."""
        (_, inputs), _ = offer_of(self.policy, None).requests([rows])
        return dict(inputs)

    def act(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return self.servable.run("serving_default", inputs)

    def begin(self, rows: int) -> dict[str, Any]:
        """Returns the inputs that carry the state, at the beginning of episodes."""
        parts = enumerate(self.policy.initial_state(rows))
        return {f"state_{i}": part.numpy() for i, part in parts}

    def observations(self, inputs: dict[str, Any]) -> Any:
        """Encodes for training what the inputs are to a server."""
        space = self.policy.observation_space
        leaves = []
        for path, leaf in kpg.spaces.leaves(space):
            values = inputs["_".join(["observation", *path]).replace(" ", "_")]
            if isinstance(leaf, spaces.Text):
                values = [text.decode() for text in values]
            leaves.append(np.array(values))
        structure = kpg.spaces.specs(space)
        return kpg.spaces.encode(space, tf.nest.pack_sequence_as(structure, leaves))


def make_policy(observations: Any, actions: Any, **options: Any) -> Any:
    """Returns a small policy whose weights are not those of a new one."""
    if observations is IMAGE:
        layers = [keras.layers.Flatten(), keras.layers.Dense(4, "tanh")]
        options["backbone"] = keras.Sequential(layers)
    else:
        options["hidden_units"] = (8,)
    if "memory" in options:
        options["memory_units"] = 5
    policy = kpg.models.Policy(observations, actions, seed=3, **options)
    rng = np.random.default_rng(0)
    for variable in policy.trainable_variables:
        noise = rng.normal(size=variable.shape) * 0.3
        variable.assign_add(noise.astype(np.float32))
    return policy


# "masked-gru" has a memory, and "everything" a text.
SLOW = ("text", "lstm", "masked-gru")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name in CASES
    ],
)
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Case:
    observations, actions, options = CASES[request.param]
    policy = make_policy(observations, actions, **options)
    export = saved_model.publish(policy, tmp_path_factory.mktemp("models"))
    return Case(policy, export, Servable(export.path))


def test_served_actions_are_those_of_the_trainer(case: Case) -> None:
    trainer = kpg.trainers.REINFORCE(case.policy, seed=0)
    paths = [path for path, _ in kpg.spaces.leaves(case.policy.action_space)]
    names = ["_".join(["action", *path]) for path in paths]
    for rows in (1, 6):
        inputs = {**case.inputs(rows), **case.begin(rows)}
        outputs = case.act(inputs)
        predicted = trainer.predict(case.observations(inputs), verbose=0)
        assert {key for key in outputs if key.startswith("action")} == set(names)
        for name, right in zip(names, tf.nest.flatten(predicted), strict=True):
            assert outputs[name].dtype == right.dtype
            np.testing.assert_allclose(outputs[name], right, rtol=1e-5, atol=1e-6)
        for row in range(rows):
            leaves = [outputs[name][row] for name in names]
            action = tf.nest.pack_sequence_as(predicted, leaves)
            assert case.policy.action_space.contains(action)


def test_samples_are_those_of_the_policy(case: Case) -> None:
    rows, seed = 50, np.array([7, 8], np.int32)
    inputs = {**case.inputs(rows), **case.begin(rows)}
    observations = case.observations(inputs)
    raw, log_probs = case.policy.sample(observations, seed)
    outputs = case.servable.run("sample", {**inputs, "seed": seed})
    right = tf.nest.flatten(case.policy.family.to_environment(raw))
    names = [key for key in outputs if key.startswith("action")]
    assert len(names) == len(right)
    paths = [path for path, _ in kpg.spaces.leaves(case.policy.action_space)]
    for path, actions in zip(paths, right, strict=True):
        served = outputs["_".join(["action", *path])]
        np.testing.assert_allclose(served, actions, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["log_prob"], log_probs, rtol=1e-4, atol=1e-4)


def test_parameters_are_called_by_kind_and_path(case: Case) -> None:
    inputs = {**case.inputs(4), **case.begin(4)}
    parameters = case.policy(case.observations(inputs))
    named = case.policy.family.named_parameters(parameters)
    outputs = case.act(inputs)
    for name, right in named.items():
        *path, kind = name.split("/")
        served = outputs["_".join([kind, *path])]
        np.testing.assert_allclose(served, right, rtol=1e-5, atol=1e-5)
    actions = len(kpg.spaces.leaves(case.policy.action_space))
    states = len(case.policy.state_spec)
    assert len(outputs) == len(named) + actions + states + 1  # and log_prob


def test_a_served_sequence_is_an_unrolled_one(case: Case) -> None:
    steps, rows = 5, 3
    resets = np.zeros((steps, rows), bool)
    resets[0], resets[3, 1] = True, True
    requests, state = [], case.begin(rows)
    parameters = []
    for step in range(steps):
        fresh = resets[step, :, np.newaxis]
        state = {key: np.where(fresh, 0, part) for key, part in state.items()}
        inputs = {**case.inputs(rows + step), **case.begin(rows)}
        inputs = {key: values[:rows] for key, values in inputs.items()} | state
        outputs = case.act(inputs)
        state = {key: outputs[key] for key in state}
        requests.append(case.observations(inputs))
        parameters.append(outputs)
    stacked = tf.nest.map_structure(lambda *rows: np.stack(rows), *requests)
    unrolled, states = case.policy.unroll(
        stacked, case.policy.initial_state(rows), resets
    )
    for step, outputs in enumerate(parameters):
        raw = case.policy.family.mode(unrolled[step])
        log_probs = case.policy.family.log_prob(unrolled[step], raw)
        np.testing.assert_allclose(outputs["log_prob"], log_probs, rtol=1e-4, atol=1e-4)
        for i, part in enumerate(states):
            np.testing.assert_allclose(outputs[f"state_{i}"], part[step], atol=1e-5)


def test_the_manifest_says_what_it_was_made_for(case: Case) -> None:
    path = Path(case.export.path) / manifest.PATH
    content = json.loads(path.read_text("utf-8"))
    for kind in ("observation", "action"):
        space = kpg.spaces.from_config(content["spaces"][kind])
        assert space == getattr(case.policy, f"{kind}_space")
    assert not {op for op in content["operations"] if "Py" in op or "Xla" in op}
    assert content["signatures"] == case.export.signatures
    assert case.export.parity_max_abs < 1e-4


def found(case: Case, kind: str) -> dict[str, tuple[str, list[Any]]]:
    described = case.export.signatures["serving_default"][kind]
    return {name: (one["dtype"], one["shape"]) for name, one in described.items()}


@pytest.mark.parametrize("case", ["everything"], indirect=True)
def test_names_of_a_nest(case: Case) -> None:
    assert found(case, "inputs") == {
        "observation_box": ("float32", [None, 3]),
        "observation_many": ("int64", [None, 2]),
        "observation_nested_0": ("int64", [None]),
        "observation_nested_1_bits": ("int8", [None, 2]),
        "observation_small_image": ("uint8", [None, 4, 4, 1]),
        "observation_text": ("string", [None]),
    }
    assert found(case, "outputs") == {
        "action_kind": ("int64", [None]),
        "action_move": ("float32", [None, 2]),
        "action_rest_0": ("int64", [None, 1, 2]),
        "action_rest_1": ("int8", [None, 2]),
        "log_prob": ("float32", [None]),
        "loc_move": ("float32", [None, 2]),
        "scale_move": ("float32", [None, 2]),
        "logits_kind": ("float32", [None, 3]),
        "logits_rest_0": ("float32", [None, 1, 2, 3]),
        "logits_rest_1": ("float32", [None, 2, 2]),
    }


@pytest.mark.parametrize("case", ["lstm"], indirect=True)
def test_names_of_a_state(case: Case) -> None:
    states = {f"state_{i}": ("float32", [None, 5]) for i in range(2)}
    assert found(case, "inputs") == {"observation": ("float32", [None, 3]), **states}
    assert found(case, "outputs") == {
        "action": ("int64", [None, 2]),
        "log_prob": ("float32", [None]),
        "logits": ("float32", [None, 2, 3]),
        **states,
    }


def refusal(case: Case, **changed: Any) -> str:
    """Returns what Predict says to three rows with some inputs changed."""
    request = predict_pb2.PredictRequest()
    for name, values in {**case.inputs(3), **changed}.items():
        tensors.encode_content(np.asarray(values), request.inputs[name])
    with pytest.raises(ServingError) as caught:
        predict(case.servable, request)
    assert caught.value.code == "INVALID_ARGUMENT"
    assert case.act(case.inputs(3))["log_prob"].shape == (3,)  # it serves on
    return str(caught.value)


# A Discrete of 3, two components of 2 and 3 choices, two bits.
PARTS = (slice(0, 3), slice(3, 5), slice(5, 8), slice(8, 10), slice(10, 12))


@pytest.mark.parametrize("case", ["masked-gru"], indirect=True)
@pytest.mark.parametrize("part", PARTS)
def test_a_mask_without_a_legal_action_is_refused(case: Case, part: slice) -> None:
    mask = np.ones((3, 12), np.int8)
    mask[1, part] = 0
    text = "Each row of the mask legal must have a legal action"
    assert text in refusal(case, observation_legal=mask)


@pytest.mark.parametrize("case", ["masked-gru"], indirect=True)
def test_served_actions_are_legal(case: Case) -> None:
    inputs = case.inputs(200)
    masks = inputs["observation_legal"]
    assert len(set(masks.sum(axis=1))) > 3  # the examples forbid, never all
    seed = np.array([1, 2], np.int32)
    outputs = case.servable.run("sample", {**inputs, "seed": seed})
    rows = np.arange(200)
    assert masks[rows, outputs["action_kind"] - 5].all()
    for i, (start, first) in enumerate([(1, 3), (2, 5)]):
        chosen = outputs["action_rest_0"][:, 0, i] - start
        assert masks[rows, first + chosen].all()
    for i, first in enumerate([8, 10]):
        assert masks[rows, first + outputs["action_rest_1"][:, i]].all()


@pytest.mark.parametrize("case", ["masked-gru"], indirect=True)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state_0", np.zeros((1, 5), np.float32)),
        ("observation_legal", np.ones((1, 12), np.int8)),
        ("observation_seen", np.ones((4, 3), np.float32)),
    ],
)
def test_other_numbers_of_rows_are_refused(case: Case, name: str, value: Any) -> None:
    text = "observation_legal, observation_seen, state_0 must have the same number of"
    assert text in refusal(case, **{name: value})


@pytest.mark.parametrize("case", ["lstm"], indirect=True)
def test_a_state_of_another_width_is_refused(case: Case) -> None:
    text = refusal(case, state_1=np.zeros((3, 4), np.float32))
    assert "[3,4] is not compatible with expected shape [?,5]" in text


@pytest.mark.parametrize("case", ["text"], indirect=True)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ab", "A text in observation must be made of the characters of its space"),
        ("~", "must be made of the characters"),
        ("\U0010ffff", "must be made of the characters"),
        ("a\0", "must be made of the characters"),
        ("aaaaaa", "A text in observation must have at most 5 characters"),
        (b"\xff\xfe", "Invalid formatting on input string"),
    ],
)
def test_a_text_that_is_not_of_the_space_is_refused(
    case: Case, text: Any, words: str
) -> None:
    if isinstance(text, str):
        with pytest.raises(ValueError, match="at most 5 characters, all from"):
            kpg.spaces.encode(TEXT, ["a", text, ""])
    texts = np.array(["a", text, ""], object)
    assert words in refusal(case, observation=texts)


@pytest.mark.parametrize(
    ("keys", "name"),
    [(("a_b", "a b"), "observation_a_b"), (("é", "ß"), "observation__")],
)
def test_ambiguous_observations_are_refused(
    tmp_path: Path, keys: tuple[str, str], name: str
) -> None:
    policy = kpg.models.Policy(
        spaces.Dict(dict.fromkeys(keys, BOX)), spaces.Discrete(2)
    )
    with pytest.raises(ValueError, match=f"rename a key.*two parts called {name}"):
        kpg.export.export_policy(policy, tmp_path)
    assert not list(tmp_path.iterdir())


def test_ambiguous_actions_are_refused(tmp_path: Path) -> None:
    inner = spaces.Dict({"b": spaces.Discrete(2)})
    outer = spaces.Dict({"a": inner, "a_b": spaces.Discrete(2)})
    with pytest.raises(ValueError, match="two parts called action_a_b"):
        kpg.export.export_policy(kpg.models.Policy(BOX, outer), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_critic_that_remembers_is_left_out() -> None:
    policy = make_policy(BOX, spaces.Discrete(2), memory="gru")
    critics = {
        True: kpg.models.Critic(BOX, hidden_units=(4,)),
        False: kpg.models.Critic(BOX, trunk=policy),
    }
    for value, critic in critics.items():
        source: Any = SimpleNamespace(policy=policy, critic=critic)
        offer = offer_of(source, None)
        name, inputs = offer.requests([2])[0]
        outputs = offer.live(name, inputs)
        assert ("value" in outputs) is value
        assert "critic_state_0" not in outputs


def encoded_in_a_graph(texts: list[str]) -> tf.Tensor:
    function = tf.function(lambda values: encoded(values, TEXT, "note"))
    return function(tf.constant([text.encode() for text in texts], tf.string))


@pytest.mark.parametrize("texts", [["aé", "", "😀ßzzz"], [""], []])
def test_texts_are_encoded_as_for_training(texts: list[str]) -> None:
    found = encoded_in_a_graph(texts)
    assert found.dtype == tf.int32
    np.testing.assert_array_equal(found, kpg.spaces.encode(TEXT, texts))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aaaaaa", "A text in note must have at most 5 characters"),
        ("ab", "A text in note must be made of the characters of its space"),
        ("\U0010ffff", "must be made of the characters"),
    ],
)
def test_texts_that_cannot_be_encoded(text: str, message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        encoded_in_a_graph(["a", text])
