"""A language policy as a SavedModel: strings in, strings out, over the wire too."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg import text
from kpg.export import Client, Server, ServingError
from kpg.export.loading.servable import Servable
from kpg.export.writing.offer import offer_of
from kpg.models import CausalLMPolicy
from tests.texts import Begun, Letters, gemma, gpt2, llama, policy

# Warm-up requests are read by tf.data, which has graphs in any case.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")

PROMPTS = ["a", "bab", "cabab"]
LIMIT = 6


class Loud(Letters):
    """Letters whose end would be seen in a text."""

    def __init__(self) -> None:
        super().__init__("abc")
        self.symbols = tf.constant(["", "$", *"abc"])


@pytest.fixture(scope="module", autouse=True)
def live() -> Iterator[None]:
    """Live policies run operation by operation; what is exported is a graph anyway."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@functools.cache
def made(temperature: float = 0.7) -> CausalLMPolicy:
    model = gpt2(5, num_layers=1)
    cuts: dict[str, Any] = {"top_k": 4, "min_p": 0.01, "repetition_penalty": 1.2}
    ends: dict[str, Any] = {"stop": ["ac", "bbb"]}
    return CausalLMPolicy(model, Loud(), temperature=temperature, **cuts, **ends)


def lengths(prompts: Any) -> Any:
    """A function of one's own."""
    return made().tokenizer.tokenize(prompts).row_lengths()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export; the limit is what its trainer wrote in an iteration."""
    trainer = SimpleNamespace(
        policy=made(), critic=None, settings=SimpleNamespace(num_steps=LIMIT)
    )
    directory = tmp_path_factory.mktemp("texts")
    functions = {"lengths": lengths}
    return Path(kpg.export.export_policy(trainer, directory, signatures=functions))


@pytest.fixture(scope="module")
def servable(path: Path) -> Servable:
    return Servable(path)


@pytest.fixture(scope="module")
def client(path: Path) -> Iterator[Client]:
    with Server(path.parent, port=0) as server, Client(server.address) as connected:
        yield connected


def asked(prompts: list[str], **options: Any) -> dict[str, Any]:
    """The inputs of `complete`, as the wire has them."""
    values = {"seed": 0, "temperature": -1.0, "max_new_tokens": -1, **options}
    return {
        "prompts": np.array([prompt.encode() for prompt in prompts], object),
        "seed": np.array(values["seed"], np.int32),
        "temperature": np.array(values["temperature"], np.float32),
        "max_new_tokens": np.array(values["max_new_tokens"], np.int32),
        "deterministic": np.array(options.get("deterministic", False)),
    }


def tensors(prompts: list[str], **options: Any) -> dict[str, Any]:
    inputs = asked(prompts, **options)
    return {name: tf.constant(value) for name, value in inputs.items()}


@pytest.mark.parametrize(
    ("count", "seed", "deterministic"), [(LIMIT, 3, False), (4, 5, False), (3, 3, True)]
)
def test_writes_what_the_live_policy_writes(
    servable: Servable, count: int, seed: int, deterministic: bool
) -> None:
    how: dict[str, Any] = {"seed": seed, "deterministic": deterministic}
    outputs = servable.run("complete", asked(PROMPTS, max_new_tokens=count, **how))
    texts, log_probs = made().complete(PROMPTS, count, **how)
    assert [found.decode() for found in outputs["completions"]] == texts
    assert texts == made().generate(PROMPTS, count, **how)
    assert set("".join(texts)) <= set("abc")
    np.testing.assert_allclose(outputs["log_probs"], log_probs, atol=1e-5)


def test_the_temperature_is_that_of_the_request(servable: Servable) -> None:
    cold = servable.run("complete", asked(PROMPTS, temperature=0.2, seed=2))
    texts, log_probs = made(0.2).complete(PROMPTS, LIMIT, seed=2)
    assert [found.decode() for found in cold["completions"]] == texts
    np.testing.assert_allclose(cold["log_probs"], log_probs, atol=1e-5)
    assert texts != made().generate(PROMPTS, LIMIT, seed=2)


def test_prompts_alone_are_completed_greedily(servable: Servable) -> None:
    outputs = servable.run("serving_default", {"prompts": asked(PROMPTS)["prompts"]})
    texts = made().generate(PROMPTS, LIMIT, deterministic=True)
    assert [found.decode() for found in outputs["completions"]] == texts


def test_no_prompts_have_no_completions(servable: Servable) -> None:
    outputs = servable.run("complete", asked([]))
    assert outputs["completions"].shape == outputs["log_probs"].shape == (0,)


def test_a_prompt_is_completed_alike_in_every_company(servable: Servable) -> None:
    """Greedily: what is drawn depends on the place in the batch."""
    together = servable.run("complete", asked(PROMPTS, deterministic=True))
    for row, prompt in enumerate(PROMPTS):
        alone = servable.run("complete", asked([prompt], deterministic=True))
        assert alone["completions"][0] == together["completions"][row]


WITHOUT_KERAS = """
import sys
for name in ("keras", "kpg", "keras_hub", "tensorflow_text"):
    sys.modules[name] = None
import tensorflow as tf
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1])
    signature = meta_graph.signature_def["complete"]
    values = {"prompts": sys.argv[2:], "seed": 3, "temperature": -1.0,
              "max_new_tokens": -1, "deterministic": False}
    feed = {signature.inputs[name].name: value for name, value in values.items()}
    for text in session.run(signature.outputs["completions"].name, feed):
        print(text.decode())
"""


# The manifest says so, too, and other tests load files without Keras.
@pytest.mark.slow
def test_tensorflow_alone_can_write(path: Path) -> None:
    """Without Keras, and without the tokenizers of tensorflow-text."""
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, str(path), *PROMPTS],
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.split("\n")[:-1] == made().generate(PROMPTS, LIMIT, seed=3)


def test_the_client_completes(client: Client) -> None:
    options: dict[str, Any] = {"max_new_tokens": 5, "seed": 4}
    assert client.complete(PROMPTS, **options) == made().generate(PROMPTS, 5, seed=4)
    cold = client.complete(PROMPTS, temperature=0.2, **options)
    assert cold == made(0.2).generate(PROMPTS, 5, seed=4)
    greedy = client.complete(PROMPTS, deterministic=True)
    assert greedy == made().generate(PROMPTS, LIMIT, deterministic=True)
    found = client.predict({"prompts": PROMPTS})
    assert [one.decode() for one in found["completions"]] == greedy
    assert client.complete([]) == []
    # Without a seed the texts differ from call to call.
    hot = {tuple(client.complete(["a"] * 8, temperature=50.0)) for _ in range(3)}
    assert len(hot) == 3


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        (["a", ""], {}, r"must have a token.*\[1\]"),
        (["a"], {"max_new_tokens": LIMIT + 1}, r"in 1 \.\.\. 6, the limit.*\[7\]"),
        (["a"], {"max_new_tokens": 0}, r"in 1 \.\.\. 6, the limit.*\[0\]"),
        (["a"], {"temperature": 0.0}, "above 0.*set deterministic"),
        (["a" * 20], {}, r"at most 24 tokens together.*\[20\]"),
        (["a"], {"temperature": "hot"}, r"Expects arg\[4\] to be float but string"),
    ],
)
def test_the_server_says_what_cannot_be_completed(
    client: Client, prompts: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ServingError, match=message) as raised:
        client.complete(prompts, **options)
    assert raised.value.code == "INVALID_ARGUMENT"


def test_wrong_types_are_refused(client: Client, servable: Servable) -> None:
    for prompts in ("a", [b"a"], [1]):
        with pytest.raises(ValueError, match="must be a list of strings. Received"):
            client.complete(prompts)  # type: ignore[arg-type]  # what is refused
    with pytest.raises(ValueError, match="seed must hold values of int32"):
        client.complete(["a"], seed=2**40)
    with pytest.raises(ServingError, match="to be string but int64 is provided"):
        client.predict({"prompts": [1, 2]})
    with pytest.raises(ServingError, match="Missing but required: {deterministic"):
        client.predict({"prompts": ["a"]}, signature_name="complete")
    nested = {**asked([]), "prompts": np.array([[b"a"]], object)}
    with pytest.raises(ServingError, match="not compatible with expected shape"):
        servable.run("complete", nested)


def test_one_trace_for_every_batch_and_length() -> None:
    """And none that looks like the batch that it was made with."""
    signatures = offer_of(made(), LIMIT).signatures
    assert set(signatures) == {"serving_default", "complete"}
    complete = signatures["complete"].traced
    for prompts, count in ((PROMPTS, 2), (["ab"], 5)):
        outputs = complete(**tensors(prompts, max_new_tokens=count, seed=1))
        texts = [found.decode() for found in outputs["completions"].numpy()]
        assert texts == made().generate(prompts, count, seed=1)
    assert {v.shape.rank for v in complete.structured_outputs.values()} == {1}


def test_the_manifest_says_what_it_was_made_with(path: Path) -> None:
    manifest = json.loads((path / "assets.extra/kpg_manifest.json").read_text())
    assert manifest["settings"] == {
        "max_new_tokens": LIMIT,
        "max_tokens": 24,
        "temperature": 0.7,
        "tokenizer": "Loud",
    }
    assert manifest["operations_beyond_tensorflow"] == []
    assert not [op for op in manifest["operations"] if "Xla" in op or "Py" in op]
    inputs = manifest["signatures"]["complete"]["inputs"]
    assert inputs["prompts"] == {"dtype": "string", "shape": [None]}
    assert set(inputs) == set(asked([]))
    assert manifest["parity"]["max_abs"] < 1e-4


def test_a_model_without_a_fast_decoder_is_read_again() -> None:
    own = policy("abc", gemma(5))
    complete = offer_of(own, 3).signatures["complete"].traced
    outputs = complete(**tensors(PROMPTS, seed=1))
    texts, log_probs = own.complete(PROMPTS, 3, seed=1)
    assert [found.decode() for found in outputs["completions"].numpy()] == texts
    np.testing.assert_allclose(outputs["log_probs"], log_probs, atol=1e-5)


def test_bytes_that_are_no_text_become_one() -> None:
    own = CausalLMPolicy(gpt2(258, num_layers=1), text.ByteTokenizer())
    complete = offer_of(own, 4).signatures["complete"].function
    texts = complete(**tensors(["é", "naïve"], seed=1))["completions"]
    found = [one.decode() for one in texts.numpy()]
    assert found == own.generate(["é", "naïve"], 4, seed=1)
    assert "�" in "".join(found)


@pytest.mark.parametrize(
    ("limit", "message"),
    [(0, "whole number"), (2.5, "whole number"), (24, "leave room.*24 tokens")],
)
def test_a_limit_out_of_range_is_refused(limit: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        offer_of(made(), limit)


@pytest.mark.parametrize(("build", "limit"), [(gpt2, 12), (llama, 64)])
def test_the_limit_has_a_default(build: Any, limit: int) -> None:
    settings = offer_of(policy("abc", build(5)), None).settings
    assert settings["max_new_tokens"] == limit


def test_other_policies_have_no_limit(tmp_path: Path) -> None:
    env = kpg.make("CartPole-v1", num_envs=1)
    other = kpg.models.Policy(env.observation_space, env.action_space)
    with pytest.raises(ValueError, match="no effect on a policy that writes no text"):
        kpg.export.export_policy(other, tmp_path / "other", max_new_tokens=3)
    assert not (tmp_path / "other").exists()


def test_a_function_of_prompts_is_served_too(
    servable: Servable, tmp_path: Path
) -> None:
    """It may use the policy's tokenizer, which is saved in any case."""
    outputs = servable.run("lengths", {"prompts": asked(PROMPTS)["prompts"]})
    assert outputs["lengths"].tolist() == [1, 3, 5]
    with pytest.raises(ValueError, match="named after the inputs: prompts, seed, temp"):
        kpg.export.export_policy(
            made(), tmp_path, signatures={"mine": lambda observation: observation}
        )


def test_prompts_begin_as_the_policy_begins_them() -> None:
    own = CausalLMPolicy(gpt2(9, num_layers=1), Begun())  # with a padded vocabulary
    complete = offer_of(own, 4).signatures["complete"].function
    found = complete(**tensors([*PROMPTS, ""], seed=1))
    texts, log_probs = own.complete([*PROMPTS, ""], 4, seed=1)
    assert [one.decode() for one in found["completions"].numpy()] == texts
    np.testing.assert_allclose(found["log_probs"], log_probs, atol=1e-5)
