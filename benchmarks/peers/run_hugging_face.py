"""Samples from a language model of the same shape with Hugging Face's `generate`."""

from __future__ import annotations

from typing import Any

import torch
from measuring import Job, Stopwatch, peak_megabytes, read_job
from texts import DIVISOR, END, PAD, lengths, prompts
from transformers import GPT2Config, GPT2LMHeadModel


def main(job: Job) -> None:
    torch.set_num_threads(job["threads"])
    watch = Stopwatch(job)
    lm: Any = language_model(job).eval()
    size, room = job["batch_size"], job["prompt_tokens"]
    counts: list[int] = []
    for chunk in range(job["chunks"]):
        given = torch.as_tensor(prompts(job, size, [job["seed"], chunk])).long()
        watch.start()
        written = lm.generate(
            given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=job["new_tokens"],
            do_sample=True,
            top_k=0,
        )
        found = lengths(written[:, room:])
        watch.stop(int(found.sum()))
        counts += found.tolist()
    watch.report(counts, peak_mb=peak_megabytes())


def language_model(job: Job) -> Any:
    """Makes the GPT-2 of a work with random weights."""
    torch.manual_seed(job["seed"])
    config = GPT2Config(
        vocab_size=job["vocabulary_size"],
        n_positions=job["prompt_tokens"] + job["new_tokens"],
        n_embd=job["hidden_dim"],
        n_layer=job["num_layers"],
        n_head=job["num_heads"],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    lm = GPT2LMHeadModel(config)
    if "end_logit" in job:
        with torch.no_grad():  # as in run_kpg_sampling.py
            lm.transformer.ln_f.bias[0] = 1.0
            lm.transformer.wte.weight[END, 0] += job["end_logit"]
    if "shared_feature" in job:
        with torch.no_grad():
            lm.transformer.wte.weight[::DIVISOR, 0] += job["shared_feature"]
    return lm


if __name__ == "__main__":
    main(read_job())
