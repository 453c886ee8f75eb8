"""The policy as a Keras model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg import spaces
from kpg.distributions import Normal, NormalFamily, TanhNormal
from kpg.models import LSTM, Policy, Transformer

OBSERVATIONS = gym.spaces.Box(-np.inf, np.inf, (3,))
ACTIONS: list[gym.Space[Any]] = [
    gym.spaces.Discrete(4),
    gym.spaces.Box(-1.0, 1.0, (2,)),
]


def rows(count: int = 6) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=(count, 3)), tf.float32)


@pytest.mark.parametrize("space", ACTIONS, ids=str)
def test_methods_agree_with_the_distribution(space: gym.Space[Any]) -> None:
    policy = Policy(OBSERVATIONS, space, seed=0)
    observations = rows()
    parameters = policy(observations)
    assert parameters.shape == (6, *policy.family.parameters_shape)
    actions, log_probs = policy.sample(observations, tf.constant([1, 2]))
    oracle = policy.distribution(observations)
    np.testing.assert_allclose(log_probs, oracle.log_prob(actions), atol=1e-5)
    np.testing.assert_allclose(
        policy.log_prob(observations, actions), log_probs, atol=1e-5
    )
    np.testing.assert_allclose(policy.entropy(observations), oracle.entropy(), 1e-5)
    np.testing.assert_allclose(policy.mode(observations), oracle.mode())


def test_a_new_policy_is_nearly_uniform_and_has_unit_deviations() -> None:
    discrete, box = (Policy(OBSERVATIONS, space, seed=0) for space in ACTIONS)
    probs = tf.nn.softmax(discrete(rows()))
    np.testing.assert_allclose(probs, 0.25, atol=0.02)
    normal = box.distribution(rows()).distribution
    np.testing.assert_allclose(normal.loc, 0.0, atol=0.1)
    np.testing.assert_allclose(normal.scale, 1.0)


def test_initial_weights_are_orthogonal_with_the_stated_gains() -> None:
    policy = Policy(OBSERVATIONS, ACTIONS[0], hidden_units=(8, 8), seed=0)
    dense = [layer for layer in policy.backbone.layers if hasattr(layer, "kernel")]
    for kernel, gain in ((dense[1].kernel, np.sqrt(2)), (policy.head.kernel, 0.01)):
        matrix = kernel.numpy()
        wide = matrix.shape[1]
        np.testing.assert_allclose(
            matrix.T @ matrix, gain**2 * np.eye(wide), atol=1e-5 * gain
        )
    for layer in (*dense, policy.head):
        np.testing.assert_array_equal(layer.bias, 0.0)


def test_one_seed_makes_one_policy_and_layers_differ() -> None:
    first, again, other = (
        Policy(OBSERVATIONS, ACTIONS[0], hidden_units=(3, 3), seed=seed)
        for seed in (1, 1, 2)
    )
    for mine, same in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(mine, same)
    assert not np.allclose(first(rows()), other(rows()), atol=1e-6)
    kernels = [layer.kernel.numpy() for layer in first.backbone.layers]
    assert not np.allclose(kernels[0], kernels[1])


def own_backbone() -> keras.Sequential:
    return keras.Sequential(
        [keras.layers.Dense(5, "relu"), keras.layers.Dense(4, "relu")]
    )


@pytest.mark.parametrize("space", ACTIONS, ids=str)
@pytest.mark.parametrize("own", [False, True], ids=["mlp", "own backbone"])
def test_saving_keeps_everything(
    space: gym.Space[Any], own: bool, tmp_path: Path
) -> None:
    backbone = own_backbone() if own else None
    policy = Policy(OBSERVATIONS, space, backbone=backbone, seed=0)
    for _, normalizer in policy.normalizers:
        normalizer.update(100.0 * rows() + 7.0)
    policy.save(tmp_path / "policy.keras")
    revived = keras.saving.load_model(tmp_path / "policy.keras")
    np.testing.assert_array_equal(revived(rows()), policy(rows()))
    assert revived.action_space == space
    config, again = policy.get_config(), revived.get_config()
    assert config.keys() == again.keys()
    assert {**config, "backbone": None} == {**again, "backbone": None}
    assert revived.backbone.get_config()["name"] == policy.backbone.name or not own


IMAGE = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
BITS = gym.spaces.MultiBinary(2)
MASKED = gym.spaces.Dict(
    {"mask": gym.spaces.MultiBinary(4), "position": gym.spaces.Box(-1, 1, (3,))}
)
HYBRID = gym.spaces.Dict(
    {"move": gym.spaces.Box(-1, 1, (2,)), "press": gym.spaces.Discrete(3)}
)
SMALL: dict[str, Any] = {"hidden_units": (4,)}
COMBINATIONS: dict[str, tuple[gym.Space[Any], gym.Space[Any], dict[str, Any]]] = {
    "image": (IMAGE, gym.spaces.MultiDiscrete([2, 3]), {}),
    "text, gru": (
        gym.spaces.Text(3, charset="abc"),
        gym.spaces.MultiBinary(3),
        {**SMALL, "memory": "gru", "memory_units": 3},
    ),
    "discrete, beta": (
        gym.spaces.Discrete(3, start=1),
        ACTIONS[1],
        {**SMALL, "distribution": "beta"},
    ),
    "multi-discrete, tanh-normal": (
        gym.spaces.MultiDiscrete([2, 3]),
        ACTIONS[1],
        {**SMALL, "distribution": "tanh_normal", "log_std_init": -0.5},
    ),
    "mask, lstm": (
        MASKED,
        ACTIONS[0],
        {**SMALL, "action_mask": "mask", "memory": "lstm", "memory_units": 3},
    ),
    "nest, nest, std": (
        gym.spaces.Tuple((gym.spaces.MultiBinary(2), MASKED)),
        HYBRID,
        {**SMALL, "activation": "relu", "state_dependent_std": True},
    ),
}


def batch(space: gym.Space[Any], size: int = 5) -> Any:
    vector = gym.vector.utils.batch_space(space, size)
    vector.seed(0)
    return spaces.encode(space, vector.sample())


@keras.saving.register_keras_serializable(package="test_policy")
class Narrow(NormalFamily):
    """A family of one's own, with one of the policy's options."""

    def __init__(self, action_space: gym.spaces.Box, log_std_init: float = 0.0) -> None:
        super().__init__(action_space, log_std_init=log_std_init - 2.0)


COMBINATIONS |= {
    "values": (
        OBSERVATIONS,
        HYBRID,
        {
            **SMALL,
            "distribution": TanhNormal(state_dependent_std=True),
            "memory": Transformer(4, steps=3),
        },
    ),
    "own family in a nest": (
        OBSERVATIONS,
        HYBRID,
        {**SMALL, "distribution": Narrow, "log_std_init": -1.0, "memory": LSTM(3)},
    ),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_saving_and_configuration_keep_every_kind(name: str, tmp_path: Path) -> None:
    observations, actions, options = COMBINATIONS[name]
    policy = Policy(observations, actions, seed=0, **options)
    for select, normalizer in policy.normalizers:
        normalizer.update(
            select(tf.nest.map_structure(tf.constant, batch(observations)))
        )
    config = json.loads(json.dumps(policy.get_config()))
    again = Policy.from_config(config)
    assert again.get_config() == policy.get_config()
    policy.head.kernel.assign(30.0 * policy.head.kernel)
    policy.save(tmp_path / "policy.keras")
    revived = keras.saving.load_model(tmp_path / "policy.keras")
    rows = batch(observations)
    np.testing.assert_array_equal(revived(rows), policy(rows))
    assert again(rows).shape == policy(rows).shape
    assert np.isnan(policy(rows)).any() == ("mask" in name and no_choice(rows))
    assert (revived.observation_space, revived.action_space) == (observations, actions)
    assert revived.state_spec == policy.state_spec


# What get_config returned before distributions and memories were values.
FLAT: dict[str, Any] = {
    "name": "policy",
    "trainable": True,
    "dtype": "float32",
    "backbone": None,
    "hidden_units": [4],
    "activation": "tanh",
    "memory": None,
    "memory_units": 64,
    "memory_steps": 32,
    "action_mask": None,
    "seed": 3,
    "distribution": "normal",
    "state_dependent_std": False,
    "log_std_init": 0.0,
}
OLD = Normal(scaled=False)
FLAT_CHANGES: list[tuple[dict[str, Any], Any, Any]] = [
    ({}, OLD, None),
    ({"memory": "lstm", "memory_units": 3}, OLD, LSTM(3)),
    ({"memory": "transformer", "memory_steps": 2}, OLD, Transformer(steps=2)),
    (
        {"distribution": "tanh_normal", "log_std_init": -1.0},
        TanhNormal(log_std_init=-1.0),
        None,
    ),
]


@pytest.mark.parametrize(("changes", "distribution", "memory"), FLAT_CHANGES, ids=str)
def test_configurations_of_earlier_versions_load(
    changes: dict[str, Any], distribution: Any, memory: Any
) -> None:
    box = ACTIONS[1]
    described = {
        "observation_space": spaces.to_config(OBSERVATIONS),
        "action_space": spaces.to_config(box),
    }
    policy = Policy.from_config({**FLAT, **described, **changes})
    same = Policy(
        OBSERVATIONS,
        box,
        hidden_units=(4,),
        memory=memory,
        distribution=distribution,
        seed=3,
        name="policy",
        channels="legacy",
    )
    assert policy.get_config() == same.get_config()
    np.testing.assert_array_equal(policy(rows()), same(rows()))


def test_files_of_before_act_as_they_did() -> None:
    """Without the fields `channels` and `scaled`, they have the old meaning."""
    actions = gym.spaces.Box(100.0, 200.0, (1,))
    board = gym.spaces.Box(0, 1, (9, 9, 17), np.uint8)
    policy = Policy(board, actions, distribution=OLD, channels="legacy", seed=0)
    config = policy.get_config()
    del config["channels"], config["distribution"]["config"]["scaled"]
    revived, seen = Policy.from_config(config), batch(board)
    np.testing.assert_array_equal(revived(seen), policy(seen))
    assert revived.get_config() == policy.get_config()
    raw = np.full((1, 1), 150.5, np.float32)
    np.testing.assert_array_equal(revived.family.to_environment(raw), raw)
    np.testing.assert_allclose(revived.encoder(seen), seen / 255.0, atol=1e-7)
    # Convolved over the wrong axis, as it was.
    assert revived.backbone.layers[0].output.shape == (None, 9, 17, 9)
    new = Policy(board, actions, seed=0)
    assert Policy.from_config(new.get_config()).get_config() == new.get_config()
    np.testing.assert_array_equal(new.encoder(seen), seen)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((9, 9, 17), {}, "image of 9 × 9 pixels, channels: 17 (axis 2)"),
        ((9, 12, 10), {"channels": "first"}, "12 × 10 pixels, channels: 9 (axis 0)"),
        ((4, 10, 10, 3), {}, "10 × 10 pixels, channels: 12 (axis 0, axis 3)"),
        ((10, 12), {}, "10 × 12 pixels, channels: 1 (none)"),
        ((7, 7, 3), {}, None),
    ],
)
def test_the_summary_says_how_images_are_read(
    shape: Any, options: Any, words: str | None
) -> None:
    lines: list[str] = []
    space = gym.spaces.Dict(a=gym.spaces.Box(0, 3, shape, np.uint8), b=BITS)
    Policy(space, ACTIONS[0], **options).summary(print_fn=lines.append)
    assert [line for line in lines if line.startswith("a: ")] == (
        [] if words is None else [line for line in lines if words in line]
    )
    assert words is None or "values 0 … 3" in lines[-1]


def test_channels_say_what_is_an_image() -> None:
    floats = gym.spaces.Box(0.0, 2.0, (9, 9, 3))
    assert Policy(floats, ACTIONS[0]).encoder.normalizers
    policy = Policy(floats, ACTIONS[0], channels="last")
    np.testing.assert_allclose(policy.encoder(np.ones((1, 9, 9, 3))), 0.5)
    assert any("conv" in layer.name for layer in policy.backbone.layers)
    none = Policy(IMAGE, ACTIONS[0], channels="none")
    assert none.encoder.normalizers
    for space, channels in ((OBSERVATIONS, "last"), (floats, "none"), (BITS, "first")):
        with pytest.raises(ValueError, match="`channels` is for images.*Received"):
            Policy(space, ACTIONS[0], channels=channels)
    with pytest.raises(ValueError, match="channels.*Received"):
        Policy(IMAGE, ACTIONS[0], channels="middle")


def no_choice(rows: Any) -> bool:
    return bool((rows["mask"].sum(axis=1) == 0).any())


def test_images_go_through_a_cnn_and_small_ones_are_flattened() -> None:
    assert any("conv" in x.name for x in Policy(IMAGE, ACTIONS[0]).backbone.layers)
    tiny = gym.spaces.Box(0, 255, (4, 4, 1), np.uint8)
    assert Policy(tiny, ACTIONS[0])(batch(tiny)).shape == (5, 4)
    layers = keras.layers
    own = keras.Sequential([layers.Conv2D(2, 2), layers.Flatten()])
    assert Policy(tiny, ACTIONS[0], backbone=own)(batch(tiny)).shape == (5, 4)


def test_own_backbones_see_the_shape_of_a_box_and_vectors_of_the_rest() -> None:
    seen: list[tuple[int | None, ...]] = []

    class Spy(keras.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            seen.append(tuple(inputs.shape))
            return keras.ops.reshape(inputs, (-1, int(np.prod(inputs.shape[1:]))))

    box = gym.spaces.Box(-1, 1, (3, 2))
    for space in (box, gym.spaces.Tuple((box, gym.spaces.Discrete(4)))):
        Policy(space, ACTIONS[0], backbone=Spy())
    assert {*seen} == {(None, 3, 2), (None, 10)}


def test_a_plain_box_costs_no_operation_of_the_other_spaces() -> None:
    for space, concats in zip(ACTIONS, (0, 1), strict=True):
        policy = Policy(OBSERVATIONS, space)
        call = tf.function(policy.call, autograph=False)
        graph = call.get_concrete_function(tf.TensorSpec([8, 3])).graph
        kinds = [operation.type for operation in graph.get_operations()]
        assert kinds.count("ConcatV2") == concats
        assert "Reshape" not in kinds
        assert not {"GatherV2", "Cast", "Split", "SplitV", "StridedSlice"} & {*kinds}


# What the network does not make: parameters that are weights of their own.


def test_constants_stand_where_the_family_wants_them() -> None:
    box = gym.spaces.Box(-1, 1, (2,))
    actions = gym.spaces.Tuple((box, gym.spaces.Discrete(3), box))
    policy = Policy(OBSERVATIONS, actions, log_std_init=-1.0, seed=0)
    constants = policy.family.constants
    places = np.flatnonzero(~np.isnan(constants))
    # Two means and two deviations, three logits, two means and two deviations.
    assert places.tolist() == [2, 3, 9, 10]
    assert policy.head.units == 7
    np.testing.assert_array_equal(policy.log_std, [-1.0] * 4)
    assert policy.log_std is not None
    policy.log_std.assign([10.0, 20.0, 30.0, 40.0])
    parameters = policy(rows()).numpy()
    np.testing.assert_array_equal(parameters[:, places], [[10.0, 20.0, 30.0, 40.0]] * 6)
    from_head = policy.head(policy.backbone(policy.encoder(rows())))
    np.testing.assert_allclose(np.delete(parameters, places, axis=1), from_head, 1e-5)


def test_state_dependent_deviations_come_from_the_head() -> None:
    policy = Policy(OBSERVATIONS, ACTIONS[1], state_dependent_std=True, seed=0)
    assert policy.log_std is None and policy.head.units == 4
    assert np.ptp(policy(rows())[:, 2:], axis=0).min() > 0.0


# Action masks.


class MaskCase:
    """A policy with a mask, random observations, and which choices are legal."""

    def __init__(self, actions: gym.Space[Any], memory: str | None) -> None:
        probe = Policy(OBSERVATIONS, actions).family
        space = gym.spaces.Dict(
            {
                "legal": gym.spaces.MultiBinary(probe.num_choices),
                "position": OBSERVATIONS,
            }
        )
        units: dict[str, Any] = {} if memory is None else {"memory_units": 3}
        self.policy = Policy(
            space, actions, action_mask="legal", memory=memory, seed=0, **SMALL, **units
        )
        random = np.random.default_rng(0)
        self.legal = random.integers(0, 2, (64, probe.num_choices)).astype(np.int8)
        self.legal[:, [0, -1]] = 1  # each part has something to choose
        self.observations = {
            "legal": self.legal,
            "position": random.normal(size=(64, 3)).astype("float32"),
        }


MASKABLE = {
    "Discrete": ACTIONS[0],
    "MultiDiscrete": gym.spaces.MultiDiscrete([2, 3]),
    "Dict": HYBRID,
}


@pytest.mark.parametrize("memory", [None, "gru"])
@pytest.mark.parametrize("name", MASKABLE)
def test_forbidden_choices_have_no_probability(name: str, memory: str | None) -> None:
    case = MaskCase(MASKABLE[name], memory)
    policy, legal = case.policy, case.legal.astype(bool)
    logits = policy(case.observations)[:, -policy.family.num_choices :]
    sizes = [2, 3] if name == "MultiDiscrete" else [logits.shape[1]]
    cuts = np.cumsum(sizes)[:-1]
    parts = [tf.nn.softmax(part) for part in np.split(logits.numpy(), cuts, axis=1)]
    probs = np.concatenate(parts, axis=1)
    np.testing.assert_array_equal(probs[~legal], 0.0)
    assert (probs[legal] > 0.1).all()
    actions, log_probs = policy.sample(case.observations, tf.constant([0, 1]))
    chosen = actions["press"] if name == "Dict" else actions
    chosen = np.reshape(chosen, (64, -1)) + np.array([0, *cuts])
    assert np.take_along_axis(legal, chosen, axis=1).all()
    assert np.isfinite(log_probs).all()
    assert np.isfinite(policy.entropy(case.observations)).all()


@pytest.mark.parametrize("memory", [None, "gru"])
@pytest.mark.parametrize("name", MASKABLE)
def test_a_mask_changes_nothing_else(name: str, memory: str | None) -> None:
    case = MaskCase(MASKABLE[name], memory)
    masked = case.policy(case.observations).numpy()
    free = {**case.observations, "legal": np.ones_like(case.legal)}
    unmasked = case.policy(free).numpy()
    legal = np.ones_like(masked, bool)
    legal[:, -case.legal.shape[1] :] = case.legal
    np.testing.assert_array_equal(masked[legal], unmasked[legal])
    assert (masked[~legal] < unmasked[~legal]).all()


def test_forbidden_choices_have_no_gradient() -> None:
    case = MaskCase(ACTIONS[0], "gru")
    case.legal[:, 1] = 0
    with tf.GradientTape() as tape:
        log_probs = case.policy.log_prob(case.observations, tf.zeros([64], tf.int32))
        loss = tf.reduce_sum(log_probs + case.policy.entropy(case.observations))
    by_bias = tape.gradient(loss, case.policy.head.bias).numpy()
    assert by_bias[1] == 0.0 and np.abs(by_bias[[0, 2, 3]]).min() > 0.0


def test_masks_follow_their_rows_through_time() -> None:
    case = MaskCase(ACTIONS[0], "gru")
    steps = tf.nest.map_structure(
        lambda leaf: leaf.reshape(8, 8, *leaf.shape[1:]), case.observations
    )
    state = case.policy.initial_state(8)
    outputs, _ = case.policy.unroll(steps, state, np.zeros((8, 8), bool))
    np.testing.assert_array_equal(outputs < -1e8, steps["legal"] == 0)


def test_a_row_without_a_choice_is_not_a_number() -> None:
    case = MaskCase(ACTIONS[0], None)
    case.legal[3] = 0
    bad = np.isnan(case.policy(case.observations)).all(axis=1)
    assert np.flatnonzero(bad).tolist() == [3]


def test_a_mask_may_be_a_nest_of_boxes() -> None:
    bits = gym.spaces.Box(0, 1, (2,), np.uint8)
    space = gym.spaces.Dict(
        {"legal": gym.spaces.Tuple((bits, bits)), "position": OBSERVATIONS}
    )
    policy = Policy(space, ACTIONS[0], action_mask="legal")
    halves = np.array([[1, 0]], np.uint8), np.array([[0, 1]], np.uint8)
    parameters = policy({"legal": halves, "position": rows(1)})
    np.testing.assert_array_equal(parameters < -1e8, [[False, True, True, False]])


def test_refuses_masks_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"key of a Dict.*action_mask='mask'"):
        Policy(OBSERVATIONS, ACTIONS[0], action_mask="mask")
    with pytest.raises(ValueError, match=r"key of a Dict.*action_mask='legal'"):
        Policy(MASKED, ACTIONS[0], action_mask="legal")
    with pytest.raises(ValueError, match=r"needs an action space with choices.*Box"):
        Policy(MASKED, ACTIONS[1], action_mask="mask")
    with pytest.raises(
        ValueError, match=r"'mask' must be.*5 numbers.*MultiBinary\(4\)"
    ):
        Policy(MASKED, gym.spaces.Discrete(5), action_mask="mask")
    whole = gym.spaces.Dict({"mask": gym.spaces.Discrete(2), "x": OBSERVATIONS})
    with pytest.raises(ValueError, match=r"must be a MultiBinary or Box"):
        Policy(whole, gym.spaces.Discrete(1), action_mask="mask")


@pytest.mark.parametrize("own", [{"hidden_units": [8]}, {"activation": "relu"}])
def test_refuses_options_that_would_do_nothing(own: dict[str, Any]) -> None:
    (name,) = own
    with pytest.raises(ValueError, match=f"`{name}` has no effect with a `backbone`"):
        Policy(OBSERVATIONS, ACTIONS[0], backbone=keras.layers.Dense(3), **own)
    with pytest.raises(ValueError, match=f"`{name}` has no effect on images"):
        Policy(IMAGE, ACTIONS[0], **own)
    with pytest.raises(ValueError, match="Received"):
        Policy(OBSERVATIONS, ACTIONS[0], log_std_init=1.0)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1)])
def test_refuses_observations_of_another_shape(shape: tuple[int, ...]) -> None:
    policy = Policy(OBSERVATIONS, ACTIONS[0])
    with pytest.raises(ValueError, match="batch of observations of shape"):
        policy(np.zeros(shape, "float32"))


def test_refuses_a_backbone_without_features() -> None:
    images = gym.spaces.Box(0, 1, (4, 4, 1))
    with pytest.raises(ValueError, match=r"\[B, features\].*Flatten"):
        Policy(images, ACTIONS[0], backbone=keras.layers.Conv2D(2, 2))


def test_refuses_spaces_it_does_not_know() -> None:
    graph: gym.Space[Any] = gym.spaces.Graph(gym.spaces.Discrete(2), None)
    with pytest.raises(ValueError, match=r"observation space must.*Graph.*Wrapper"):
        Policy(graph, ACTIONS[0])
    with pytest.raises(ValueError, match=r"action space must.*Text.*Wrapper"):
        Policy(OBSERVATIONS, gym.spaces.Text(3))
