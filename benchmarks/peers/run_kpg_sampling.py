"""Samples from a language model with kpg, log-probabilities and values included."""

from __future__ import annotations

import tensorflow as tf
from measuring import Job, Stopwatch, peak_megabytes, read_job
from texts import lengths, prompts

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


def language_model(job: Job) -> object:
    """Makes the GPT-2 of a work with random weights, a model of KerasHub."""
    return kpg.text.gpt2(
        job["vocabulary_size"],
        job["num_layers"],
        job["num_heads"],
        job["hidden_dim"],
        max_tokens=job["prompt_tokens"] + job["new_tokens"],
        seed=job["seed"],
    )


if __name__ == "__main__":
    main(read_job())
