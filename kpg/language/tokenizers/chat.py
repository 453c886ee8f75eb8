"""Messages of a conversation as one text, by a tokenizer's template."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NoReturn, TypeAlias, TypeGuard

from kpg import imports

Messages: TypeAlias = Sequence[Mapping[str, str]]
Prompt: TypeAlias = "str | Messages"


def is_chat(prompt: object) -> TypeGuard[Messages]:
    """Whether a prompt is a list of messages rather than a text."""
    if not isinstance(prompt, (list, tuple)) or not prompt:
        return False
    return all(isinstance(one, Mapping) for one in prompt)


def check_messages(messages: Messages) -> None:
    """Refuses messages without a role and a content that are strings."""
    for message in messages:
        known = [message.get(name) for name in ("role", "content")]
        if not all(isinstance(part, str) for part in known):
            raise ValueError(
                'A message must be {"role": …, "content": …} of strings. Received: '
                f"{dict(message)!r}"
            )


def in_template(
    messages: Messages, template: str | None, tokens: Mapping[str, str]
) -> str:
    """Returns the text of messages, up to where the answer begins.

    Args:
        messages: Each has a "role" and a "content".
        template: In Jinja, as models of GGUF and Hugging Face have it. It is run
            in a sandbox: it comes with a model, from strangers.
        tokens: The names of tokens that it may use, such as "bos_token".

    Raises:
        ValueError: If there is no template, or it refuses the messages.
        ImportError: If the package jinja2 is not installed.
    """
    check_messages(messages)
    if not template:
        raise ValueError(
            "Messages need a template, and the tokenizer has none: give the policy a "
            "`chat_template`, or write the prompt as one string. Received: "
            f"{list(messages)!r}, chat_template={template!r}"
        )
    given = {"messages": list(messages), "add_generation_prompt": True, **tokens}
    try:
        text: str = _compiled(template).render(given)
    except _jinja("exceptions").TemplateError as error:
        raise ValueError(
            "The chat template must be one of Jinja that takes the messages; its "
            "source has the roles and the order that it knows. Received: "
            f"{list(messages)!r}, and it says: {error}"
        ) from error
    return text


@functools.lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    error: type[Exception] = _jinja("exceptions").TemplateError

    def refuse(message: object) -> NoReturn:
        raise error(str(message))

    environment = _jinja("sandbox").ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    return environment.from_string(template)


def _jinja(module: str) -> ModuleType:
    return imports.optional(f"jinja2.{module}", "jinja2", "chat", "A chat template")
