"""Language models from directories, or from where KerasHub finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def pretrained(preset: str | Path, task: str, with_tokenizer: bool = True) -> Any:
    """Loads a language model of KerasHub.

    Args:
        preset: A directory that `save_to_preset` of a KerasHub model wrote, or a name
            that `from_preset` of KerasHub knows, which is downloaded.
        task: "CausalLM" or "Seq2SeqLM".
        with_tokenizer: Whether the preset's tokenizer is loaded as well. Defaults to
            `True`.

    Returns:
        The model; its preprocessor, if there is one, has the tokenizer.

    Raises:
        ValueError: If there is no such preset, or it holds another kind of model or no
            tokenizer.
    """
    import keras_nlp

    directory = Path(preset)
    if directory.is_dir():
        _check_files(directory, with_tokenizer)
    elif not _may_be_known(str(preset), keras_nlp.models.Backbone.presets):
        raise ValueError(
            "There is no such preset; give a directory that `save_to_preset` wrote, or "
            f"a name that KerasHub knows, such as 'gpt2_base_en'. Received: {preset!r}"
        )
    options = {} if with_tokenizer else {"preprocessor": None}
    kind: Any = getattr(keras_nlp.models, task)
    try:
        lm: Any = kind.from_preset(str(preset), **options)
    except ValueError as error:
        if "Unable to find a subclass" not in str(error):
            raise
        raise ValueError(
            f"The preset must be of a {task}. Received: {preset!r}, {error}"
        ) from error
    tokenizer = getattr(lm.preprocessor, "tokenizer", None)
    if tokenizer is not None:
        # What KerasHub does eagerly is not what it does in a graph: see `coding`.
        tokenizer._allow_python_workflow = False
    return lm


def _check_files(directory: Path, with_tokenizer: bool) -> None:
    wanted = {"config.json": "is no preset of KerasHub: it lacks the model's"}
    if with_tokenizer:
        wanted["tokenizer.json"] = (
            "has no tokenizer; give one by `tokenizer=`, or call `save_to_preset` of a "
            "model with a preprocessor. It lacks"
        )
    for name, what in wanted.items():
        if not (directory / name).is_file():
            raise ValueError(
                f"The directory {what} {name}. Received: {str(directory)!r}"
            )


def _may_be_known(preset: str, presets: dict[str, Any]) -> bool:
    """Whether a name is KerasHub's, or says where it is to be downloaded from."""
    return preset in presets or "://" in preset
