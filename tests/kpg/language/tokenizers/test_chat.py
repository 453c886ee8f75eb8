"""Messages as one text, by templates of Jinja."""

from __future__ import annotations

from typing import Any

import pytest

from kpg.language.tokenizers.chat import in_template, is_chat

TEMPLATE = """{{ bos_token }}{% for message in messages %}
{% if message['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}
<|{{ message['role'] }}|>{{ message['content'] }}{{ eos_token }}
{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""
MESSAGES = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
]
TOKENS = {"bos_token": "^", "eos_token": "$"}


def test_a_template_makes_a_text() -> None:
    want = "^<|system|>Be kind.$\n<|user|>Hi$\n<|assistant|>"
    assert in_template(MESSAGES, TEMPLATE, TOKENS) == want


def test_messages_are_told_from_texts() -> None:
    assert is_chat(MESSAGES) and is_chat(tuple(MESSAGES))
    assert not any(map(is_chat, ["Hi", [], ["Hi"], {"role": "user"}]))


@pytest.mark.parametrize(
    ("messages", "template", "message"),
    [
        (MESSAGES, None, "the tokenizer has none: give the policy a `chat_template`"),
        (MESSAGES, "", r"'Hi'}\], chat_template=''"),
        ([{"role": "user"}], TEMPLATE, "of strings. Received: {'role': 'user'}"),
        ([{"role": 1, "content": ""}], TEMPLATE, "Received: {'role': 1"),
    ],
)
def test_what_makes_no_text_is_refused(
    messages: Any, template: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        in_template(messages, template, TOKENS)


@pytest.mark.parametrize(
    ("role", "template", "message"),
    [
        ("tool", TEMPLATE, "that takes the messages.*'tool'.*it says: no tools"),
        ("user", "{% if %}", "must be one of Jinja that takes.*it says: Expected"),
        ("user", "{{ messages.pop() }}", "it says"),
        ("user", "{{ ''.__class__.__mro__ }}", "it says"),
    ],
)
def test_templates_that_refuse_or_reach_out(
    role: str, template: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        in_template([{"role": role, "content": "x"}], template, TOKENS)
