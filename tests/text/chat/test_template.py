"""Chat templates: prefixes that hold, ranges that are right, templates that are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import DataError
from groundup.text.chat.template import CHAT_TEMPLATE, ChatTemplate

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
TEMPLATE = ChatTemplate(CHAT_TEMPLATE, SPECIAL)
TEXT = st.lists(st.sampled_from([*SPECIAL, "\ue000", "\ue001", "7", "\n"]) | st.text(max_size=4), max_size=6).map(
    "".join
)


def talk(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(contents)]


@given(st.lists(TEXT, min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_a_rendered_prefix_is_a_prefix_and_ranges_hold_the_answers(contents: list[str]) -> None:
    messages = talk(*contents)
    whole = TEMPLATE.render(messages)
    for upto in range(len(messages)):
        assert whole.text.startswith(TEMPLATE.render(messages[:upto]).text)
    answers = [text for place, text in enumerate(contents) if place % 2]
    assert [whole.text[start:end] for start, end in whole.trained] == [f"{text}<|im_end|>" for text in answers]
    assert all(piece.special == (piece.text in SPECIAL) for piece in whole.pieces if piece.special)
    assert [piece.text for piece in whole.pieces if piece.special].count("<|endoftext|>") == 1
    assert sum(piece.special for piece in whole.pieces) == 1 + 2 * len(messages)


@given(TEXT)
@settings(max_examples=200, deadline=None)
def test_a_template_that_trims_sees_no_more_than_the_text(text: str) -> None:
    trimming = ChatTemplate("{% for m in messages %}{{ m['content'] | trim }}<|im_end|>{% endfor %}", SPECIAL)
    rendered = trimming.render([{"role": "user", "content": text}])
    assert [piece for piece in rendered.pieces if piece.special][-1].text == "<|im_end|>"
    assert sum(piece.special for piece in rendered.pieces) == 1
    assert rendered.text == text.strip() + "<|im_end|>"


@pytest.mark.parametrize(
    "source",
    [
        # only the last message is kept
        "{{ messages[-1]['content'] if messages else '' }}<|im_end|>\n",
        # earlier answers lose their thoughts
        "{% for m in messages %}{{ m['role'] }}:"
        "{{ m['content'] if loop.last else m['content'] | replace('b', '') }}<|im_end|>\n{% endfor %}",
        # the number of turns stands at the front
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}<|im_end|>\n{% endfor %}",
        # the generation prompt is not how an answer begins
        "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
    ],
)
def test_a_template_that_rewrites_earlier_turns_is_refused(source: str) -> None:
    with pytest.raises(DataError, match="rewrites"):
        ChatTemplate(source, SPECIAL).render(talk("abc", "bcd", "cde", "def"))


def test_the_last_answer_can_be_trained_on_where_earlier_ones_are_rewritten() -> None:
    thinking = ChatTemplate(
        "{% for m in messages %}{{ m['role'] }}:"
        "{{ m['content'] if loop.last or m['role'] == 'user' else m['content'][-1] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
        SPECIAL,
    )
    turns = talk("a", "(why)b", "c", "(so)d")
    with pytest.raises(DataError, match="rewrites turn 2 once more turns follow: train on conversations of one answer"):
        thinking.render(turns)
    assert thinking.render(turns[:2]).trained
    last = thinking.render(turns, last_answer_only=True)
    assert [last.text[start:end] for start, end in last.trained] == ["(so)d<|im_end|>"]
    assert TEMPLATE.render(turns, last_answer_only=True).trained == TEMPLATE.render(turns).trained[-1:]
    assert TEMPLATE.render(turns[:1], last_answer_only=True).trained == ()


def test_generation_blocks_of_earlier_answers_are_no_news_where_the_last_is_trained() -> None:
    marking = ChatTemplate(
        "{% for m in messages %}{{ m['role'] }}:{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}"
        "<|im_end|>{% endgeneration %}{% else %}{{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
        SPECIAL,
    )
    turns = talk("a", "b", "c", "d")
    for only, answers in ((False, ["b<|im_end|>", "d<|im_end|>"]), (True, ["d<|im_end|>"])):
        made = marking.render(turns, last_answer_only=only)
        assert ([made.text[start:end] for start, end in made.trained], made.note) == (answers, "")


def test_a_template_may_refuse_and_may_not_reach_out() -> None:
    strict = ChatTemplate("{{ raise_exception('roles must alternate') }}", SPECIAL)
    with pytest.raises(DataError, match="roles must alternate"):
        strict.render(talk("a"))
    for hostile in (
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ undefined.x }}",
        "{{ 1 + 'a' }}",
        "{{ 1 // 0 }}",
    ):
        with pytest.raises(DataError):
            ChatTemplate(hostile, SPECIAL).render(talk("a"))
    with pytest.raises(DataError, match="not valid jinja"):
        ChatTemplate("{% for message in messages %}{{ never closed", SPECIAL)
