"""Trains a language model of the same shape with TRL's GRPOTrainer or RLOOTrainer."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from measuring import Job, Stopwatch, peak_megabytes, read_job
from run_hugging_face import language_model
from texts import Reward, strings
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

TRAINERS = {"grpo": (GRPOConfig, GRPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}


class Pauses(TrainerCallback):
    """Stops the watch after each step; a step writes its completions first."""

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.watch.start()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.watch.stop(1)
        self.watch.start()


def tokenizer(job: Job) -> Any:
    """Makes a tokenizer with a token for each byte."""
    words = ["<pad>", "<end>", *map(chr, range(256))]
    words += [f"<{token}>" for token in range(len(words), job["vocabulary_size"])]
    vocabulary = {word: token for token, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<end>"
    )


def main(job: Job) -> None:
    torch.set_num_threads(job["threads"])
    watch, reward = Stopwatch(job), Reward(job)
    config, trainer = TRAINERS[job["algorithm"]]
    size = job.get("micro_batch_size") or job["batch_size"]
    arguments = config(
        output_dir="run",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        seed=job["seed"],
        max_steps=job["chunks"],
        per_device_train_batch_size=size,
        gradient_accumulation_steps=job["batch_size"] // size,
        num_generations=job["group_size"],
        max_completion_length=job["new_tokens"],
        temperature=1.0,
        beta=job["kl_coef"],
        use_transformers_continuous_batching=job["backend"] == "continuous",
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        weight_decay=job["weight_decay"],
        max_grad_norm=job["max_grad_norm"],
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    # The reference is read from where the model came from.
    language_model(job).save_pretrained("model")
    training = trainer(
        model="model",
        reward_funcs=reward,
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": strings(job)}),
        processing_class=tokenizer(job),
        callbacks=[Pauses(watch)],
    )
    training.train()
    watch.report(reward.shares[-2:], first=reward.shares[0], peak_mb=peak_megabytes())


if __name__ == "__main__":
    main(read_job())
