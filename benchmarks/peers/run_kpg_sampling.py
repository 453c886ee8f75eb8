"""Samples from a language model with kpg, log-probabilities and values included."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from measuring import Job, Stopwatch, peak_megabytes, read_job
from texts import DIVISOR, END, lengths, prompts

import kpg
from kpg.graph.compiling import compiled
from kpg.models.language.decoding.sampling import Sampler


def main(job: Job) -> None:
    watch = Stopwatch(job)
    lm = language_model(job)
    policy = kpg.models.CausalLMPolicy(lm, kpg.text.ByteTokenizer())
    # This is how a trainer's iteration writes.
    sample = compiled(Sampler(policy, job["new_tokens"]).__call__, jit_compile=True)
    size = job["batch_size"]
    known = tf.fill([size], job["prompt_tokens"])
    counts: list[int] = []
    for chunk in range(job["chunks"]):
        given = tf.constant(prompts(job, size, [job["seed"], chunk]))
        watch.start()
        completions = sample(given, known, tf.constant([job["seed"], chunk]))
        found = lengths(completions.tokens.numpy().T)
        watch.stop(int(found.sum()))
        counts += found.tolist()
    watch.report(counts, peak_mb=peak_megabytes())


def language_model(job: Job) -> Any:
    """Makes the GPT-2 of a work with random weights, a model of KerasHub."""
    lm: Any = kpg.text.gpt2(
        job["vocabulary_size"],
        job["num_layers"],
        job["num_heads"],
        job["hidden_dim"],
        max_tokens=job["prompt_tokens"] + job["new_tokens"],
        seed=job["seed"],
    )
    table = lm.backbone.token_embedding.embeddings
    own = np.array(table)
    if "shared_feature" in job:
        own[::DIVISOR, 0] += job["shared_feature"]
    if "end_logit" in job:
        # The last norm adds 1 to a feature, of which the end's embedding has so much.
        one = np.eye(1, job["hidden_dim"], dtype=np.float32)[0]
        lm.backbone.layer_norm.beta.assign(one)
        own[END] += job["end_logit"] * one
    table.assign(own)
    return lm


if __name__ == "__main__":
    main(read_job())
