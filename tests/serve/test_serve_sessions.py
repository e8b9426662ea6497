"""Conversations: kept inside the context, counted honestly, broken off cleanly."""

from __future__ import annotations

import pytest
from tiny import tiny_engine

from groundup.base.errors import RequestError
from groundup.infer.sampling import SamplingParams
from groundup.serve.answers import Finished, answer, chat_prompt
from groundup.serve.sessions import ChatSession

PARAMS = SamplingParams(max_new_tokens=12, temperature=1.0, seed=5)


def test_first_answer_is_what_the_engine_generates_for_the_rendered_conversation() -> None:
    engine = tiny_engine()
    session = ChatSession(engine, PARAMS, "Be kind.")
    said = "".join(session.say("Hello there"))
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello there"}]
    prompt = [
        engine.tokenizer.eos_id,
        *engine.tokenizer.encode_chat(messages, add_generation_prompt=True).ids,
    ]
    (ids,) = engine.generate([prompt], PARAMS)
    assert ids
    assert said == engine.tokenizer.decode(ids)
    assert session.messages == [messages[1], {"role": "assistant", "content": said}]


def test_turns_have_their_own_seeds_and_a_session_repeats_itself() -> None:
    def talk() -> list[str]:
        session = ChatSession(tiny_engine(), PARAMS)
        return ["".join(session.say("Hello")) for _ in range(2)]

    first, second = talk()
    assert [first, second] == talk()
    assert first != second


def test_oldest_exchanges_are_dropped_whole_and_counted() -> None:
    engine = tiny_engine(max_seq_len=128)
    session = ChatSession(engine, PARAMS, "Be kind.")
    for number in range(8):
        list(session.say(f"question {number} of many"))
        prompt = chat_prompt(engine.tokenizer, session.messages)
        assert len(prompt) <= engine.max_seq_len + 16
    assert session.dropped > 0
    assert session.dropped % 2 == 0
    assert session.dropped + len(session.messages) == 16
    assert session.messages[0]["role"] == "user"
    assert session.messages[-2]["content"] == "question 7 of many"


def test_a_message_that_can_not_fit_is_refused_and_changes_nothing() -> None:
    session = ChatSession(tiny_engine(), PARAMS)
    list(session.say("Hello"))
    before = list(session.messages)
    with pytest.raises(RequestError, match="say it shorter"):
        session.say("word " * 200)
    assert session.messages == before
    assert session.dropped == 0


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(RequestError, match="lone surrogate"):
        ChatSession(tiny_engine(), PARAMS).say("a\udc80b")


def test_an_answer_broken_off_counts_as_far_as_it_was_said() -> None:
    session = ChatSession(tiny_engine(), PARAMS)
    pieces = session.say("Hello")
    first = next(pieces)
    pieces.close()
    assert session.messages[1:] == [{"role": "assistant", "content": first}]
    never_asked = session.say("Hello again")
    never_asked.close()
    assert len(session.messages) == 2
    session.reset()
    assert session.messages == []


def test_the_end_says_why() -> None:
    engine = tiny_engine()
    prompt = chat_prompt(engine.tokenizer, [{"role": "user", "content": "Hello"}])
    *_, end = answer(engine, prompt, PARAMS)
    assert end == Finished("length", 12)
    long = PARAMS.model_copy(update={"max_new_tokens": 10_000})
    *pieces, end = answer(engine, prompt, long)
    assert isinstance(end, Finished)
    assert (end.reason == "length") == (end.tokens == engine.max_seq_len - len(prompt))
    text = "".join(str(piece) for piece in pieces)
    stop = text[4:6]
    *pieces, end = answer(engine, prompt, long, [stop])
    assert isinstance(end, Finished)
    assert end.reason == "stop"
    assert "".join(str(piece) for piece in pieces) == text[: text.index(stop)]
