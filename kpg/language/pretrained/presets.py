"""Language models from directories, or from where KerasHub finds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras_nlp


def pretrained(
    preset: str | Path, task: str, with_tokenizer: bool = True
) -> keras_nlp.models.CausalLM | keras_nlp.models.Seq2SeqLM:
    """Loads a language model of KerasHub.

    Args:
        preset: A directory that `save_to_preset` of a KerasHub model wrote, or a name
            that `from_preset` of KerasHub knows, which is downloaded.
        task: "CausalLM" or "Seq2SeqLM".
        with_tokenizer: Whether its preprocessor, which has the tokenizer, is loaded
            too. Defaults to `True`.

    Raises:
        ValueError: If there is no such preset, of this kind and with a tokenizer.
    """
    import keras_nlp

    directory, name = Path(preset), str(preset)
    if directory.is_dir():
        _check_files(directory, with_tokenizer)
    elif "://" not in name and name not in keras_nlp.models.Backbone.presets:
        raise ValueError(
            "There is no such preset; give a directory that `save_to_preset` wrote, or "
            f"a name that KerasHub knows, such as 'gpt2_base_en'. Received: {preset!r}"
        )
    options = {} if with_tokenizer else {"preprocessor": None}
    try:
        lm = getattr(keras_nlp.models, task).from_preset(name, **options)
    except ValueError as error:
        if "Unable to find a subclass" not in str(error):
            raise
        raise ValueError(
            f"The preset must be of a {task}. Received: {preset!r}, {error}"
        ) from error
    tokenizer = getattr(lm.preprocessor, "tokenizer", None)
    if tokenizer is not None:
        # KerasHub splits differently eagerly and in a graph: see codec.py.
        tokenizer._allow_python_workflow = False
    return lm


def _check_files(directory: Path, with_tokenizer: bool) -> None:
    wanted = {"config.json": "is not a preset of KerasHub: it lacks the model's"}
    if with_tokenizer:
        wanted["tokenizer.json"] = (
            "has no tokenizer; pass `tokenizer=`, or call `save_to_preset` of a model "
            "with a preprocessor. It lacks"
        )
    for name, what in wanted.items():
        if not (directory / name).is_file():
            raise ValueError(
                f"The directory {what} {name}. Received: {str(directory)!r}"
            )
