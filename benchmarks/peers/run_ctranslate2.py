"""Samples with CTranslate2 in float32 from a language model with kpg's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs.common_spec import Activation
from ctranslate2.specs.transformer_spec import TransformerDecoderModelSpec
from gpt2_weights import Layer, weights
from measuring import Job, Stopwatch, peak_megabytes, read_job
from texts import END, PAD, lengths, prompts


def main(job: Job) -> None:
    watch = Stopwatch(job)
    lm: Any = language_model(job)
    counts: list[int] = []
    for chunk in range(job["chunks"]):
        given = prompts(job, job["batch_size"], [job["seed"], chunk])
        ctranslate2.set_random_seed(job["seed"] * job["chunks"] + chunk)
        watch.start()
        written = lm.generate_batch(
            [list(map(str, row)) for row in given.tolist()],
            max_length=job["new_tokens"],
            sampling_topk=0,
            sampling_temperature=1.0,
            end_token=str(END),
            return_end_token=True,
            # The prompts are read at once.
            include_prompt_in_result=False,
        )
        rows = [result.sequences_ids[0] for result in written]
        padded = [row + [PAD] * (job["new_tokens"] - len(row)) for row in rows]
        found = lengths(padded)
        watch.stop(int(found.sum()))
        counts += found.tolist()
    watch.report(counts, peak_mb=peak_megabytes())


def language_model(job: Job) -> Any:
    """Makes the GPT-2 of a work; its files go into the working directory."""
    made = weights(job)
    spec = TransformerDecoderModelSpec.from_config(
        job["num_layers"], job["num_heads"], activation=Activation.GELUTanh
    )
    decoder: Any = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = decoder.projection.weight = made.tokens
    decoder.position_encodings.encodings = made.places
    _normalise(decoder.layer_norm, job)
    for to, layer in zip(decoder.layer, made.layers, strict=True):
        _fill(to, layer, job)
    # A token's name is its number.
    spec.register_vocabulary(list(map(str, range(job["vocabulary_size"]))))
    spec.config.bos_token = spec.config.eos_token = str(END)
    spec.config.unk_token = str(PAD)
    spec.validate()
    Path("model").mkdir(exist_ok=True)
    spec.save("model")
    return ctranslate2.Generator(
        "model", compute_type="float32", intra_threads=job["threads"]
    )


def _fill(to: Any, layer: Layer, job: Job) -> None:
    """Sets a block, whose kernels are `[outputs, inputs]` here."""
    together = np.concatenate([layer.query, layer.key, layer.value], axis=1)
    attention, mlp = to.self_attention, to.ffn
    for linear, kernel in (
        (attention.linear[0], together),
        (attention.linear[1], layer.merge),
        (mlp.linear_0, layer.widen),
        (mlp.linear_1, layer.narrow),
    ):
        linear.weight = np.ascontiguousarray(kernel.T)
        linear.bias = np.zeros(kernel.shape[1], np.float32)
    _normalise(attention.layer_norm, job)
    _normalise(mlp.layer_norm, job)


def _normalise(norm: Any, job: Job) -> None:
    norm.gamma = np.ones(job["hidden_dim"], np.float32)
    norm.beta = np.zeros(job["hidden_dim"], np.float32)


if __name__ == "__main__":
    main(read_job())
