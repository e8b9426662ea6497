"""The HTTP interface, spoken to by OpenAI's own client over a real socket."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import openai
import pytest
import uvicorn
from fastapi import FastAPI
from tiny import tiny_engine

from groundup.infer.engine import Engine
from groundup.infer.sampling import SamplingParams
from groundup.serve.answers import chat_prompt
from groundup.serve.app import create_app
from groundup.serve.wire import MAX_BODY

DIGESTS = {"quickstart/tiny": "a1b2" * 16, "endless": "c3d4" * 16}
MESSAGES = [{"role": "user", "content": "Tell me a story."}]


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """A server on a free port of this machine for as long as the body runs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="info", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()
        assert not thread.is_alive()


def endless_engine() -> Engine:
    """A model that talks until its context of 8,192 tokens is full: longer than any test waits."""
    return tiny_engine(max_seq_len=8192, never_stops=True)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = create_app({"quickstart/tiny": tiny_engine(), "endless": endless_engine()}, DIGESTS, max_waiting=2)
    with running(app) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def idle(url: str, seconds: float = 10) -> bool:
    """Whether the engine becomes free within some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if httpx.get(f"{url}/healthz").json()["pending"] == 0:
            return True
        time.sleep(0.02)
    return False


def wanted(params: SamplingParams) -> tuple[list[int], list[int], str]:
    """What the engine itself makes of MESSAGES: prompt, new ids, text."""
    engine = tiny_engine()
    prompt = chat_prompt(engine.tokenizer, MESSAGES)
    (ids,) = engine.generate([prompt], params)
    return prompt, ids, engine.tokenizer.decode(ids)


def test_an_answer_in_one_piece_is_the_engines(client: openai.OpenAI) -> None:
    params = SamplingParams(max_new_tokens=20, temperature=0.9, top_p=0.8, seed=11)
    got = client.chat.completions.create(
        model="quickstart/tiny",
        messages=MESSAGES,
        max_tokens=20,
        temperature=0.9,
        top_p=0.8,
        seed=11,  # type: ignore[arg-type]
    )
    prompt, ids, text = wanted(params)
    assert got.choices[0].message.content == text
    assert got.choices[0].message.role == "assistant"
    assert got.choices[0].finish_reason == "length"
    assert got.system_fingerprint == DIGESTS["quickstart/tiny"]
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (len(prompt), len(ids))
    assert got.usage.total_tokens == len(prompt) + len(ids)


def test_a_stream_says_the_same_in_whole_characters_and_counts_it(client: openai.OpenAI) -> None:
    common = {"model": "quickstart/tiny", "messages": MESSAGES, "max_completion_tokens": 30, "seed": 4}
    whole = client.chat.completions.create(**common)
    chunks = list(client.chat.completions.create(**common, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert {chunk.system_fingerprint for chunk in chunks} == {DIGESTS["quickstart/tiny"]}
    assert len({chunk.id for chunk in chunks}) == 1
    plain = list(client.chat.completions.create(**common, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in plain)


def test_seeds_repeat_and_differ(client: openai.OpenAI) -> None:
    def say(**more: object) -> str:
        got = client.completions.create(model="quickstart/tiny", prompt="Once upon", max_tokens=20, **more)  # type: ignore[call-overload]
        return str(got.choices[0].text)

    assert say(seed=1) == say(seed=1)
    assert len({say(seed=seed) for seed in range(4)}) > 1
    assert len({say() for _ in range(4)}) > 1
    assert say(temperature=0) == say(temperature=0)
    assert say(seed=-7) == say(seed=-7)


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings_end_the_text_and_are_not_in_it(client: openai.OpenAI, stream: bool) -> None:
    common = {"model": "quickstart/tiny", "prompt": "The dog", "max_tokens": 40, "seed": 2}
    text = client.completions.create(**common).choices[0].text
    stop = [text[7:10], "\n\nHuman:"]
    got = client.completions.create(**common, stop=stop, stream=stream)
    choices = [chunk.choices[0] for chunk in got] if stream else [got.choices[0]]
    assert "".join(choice.text for choice in choices) == text[: text.index(stop[0])]
    assert choices[-1].finish_reason == "stop"


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == list(DIGESTS)
    one = client.models.retrieve("quickstart/tiny").model_dump()
    assert one["digest"] == DIGESTS["quickstart/tiny"]
    assert one["max_model_len"] == 128
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("quickstart/huge")


def test_what_a_client_copies_back_from_an_answer_is_taken(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="quickstart/tiny", messages=MESSAGES, max_tokens=5)
    talk = [*MESSAGES, first.choices[0].message, {"role": "user", "content": [{"type": "text", "text": "And then?"}]}]
    second = client.chat.completions.create(
        model="quickstart/tiny",
        messages=talk,
        max_tokens=5,
        n=1,
        user="me",
        frequency_penalty=0.0,  # type: ignore[arg-type]
    )
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.prompt_tokens > first.usage.total_tokens


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"n": 2}, 400, "n=2 is not supported"),
        ({"temperature": 5}, 400, "temperature"),
        ({"temperature": "warm"}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_token": 3}, 400, "did you mean 'max_tokens'"),
        ({"seed": 2**63}, 400, "seed"),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, "at most four"),
        ({"stop": ""}, 400, "none of them empty"),
        ({"logprobs": True}, 400, "logprobs=true is not supported"),
        ({"tools": [{"type": "function"}]}, 400, "tools"),
        ({"messages": []}, 400, "messages"),
        ({"messages": None}, 400, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "role"),
        ({"messages": [{"role": "user"}]}, 400, "content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, "lone surrogate"),
        ({"messages": [{"role": "user", "content": "word " * 400}]}, 400, "context holds 128"),
        ({"messages": [{"role": "user", "content": ""}] * 2000}, 400, "context holds 128"),
        ({"model": "quickstart/tiniest"}, 404, "did you mean 'quickstart/tiny'"),
        ({"messages": [{"role": "user", "content": "x" * MAX_BODY}]}, 413, "larger than"),
    ],
)
def test_what_can_not_be_done_is_refused_in_openais_shape(
    url: str, change: dict[str, object], status: int, message: str
) -> None:
    body = {"model": "quickstart/tiny", "messages": MESSAGES, "max_tokens": 2, **change}
    headers = {"content-type": "application/json"}
    got = httpx.post(f"{url}/v1/chat/completions", content=json.dumps(body), headers=headers)
    error = got.json()["error"]
    assert got.status_code == status, error
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}
    assert len(error["message"]) < 600


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"model": NaN}', b"[" * 100_000])
def test_a_malformed_body_is_refused(url: str, body: bytes) -> None:
    got = httpx.post(f"{url}/v1/completions", content=body, headers={"content-type": "application/json"})
    assert got.status_code == 400
    assert got.json()["error"]["type"] == "invalid_request_error"


def test_the_clients_own_errors_are_raised(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="several times"):
        client.chat.completions.create(model="quickstart/tiny", messages=MESSAGES, n=3)  # type: ignore[arg-type]
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="nobody", prompt="x")
    assert caught.value.code == "model_not_found"


def test_other_paths_methods_and_types_of_content(url: str) -> None:
    for got, status in (
        (httpx.get(f"{url}/v2"), 404),
        (httpx.get(f"{url}/v1/completions"), 405),
        (httpx.post(f"{url}/v1/completions", data={"model": "quickstart/tiny"}), 415),
    ):
        assert got.status_code == status
        assert set(got.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_the_engine(url: str, stream: bool) -> None:
    body = {"model": "endless", "prompt": "Once upon a time", "stream": stream}
    if stream:
        with httpx.stream("POST", f"{url}/v1/completions", json=body) as got:
            next(got.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/completions", json=body, timeout=httpx.Timeout(10, read=0.3))
    assert idle(url)


def test_more_than_may_wait_are_sent_away_and_those_who_wait_are_served(url: str, client: openai.OpenAI) -> None:
    long = {"model": "endless", "prompt": "Once upon a time", "stream": True}
    answers: list[str] = []

    def ask() -> None:
        got = client.completions.create(model="quickstart/tiny", prompt="The dog", max_tokens=3, seed=1)
        answers.append(got.choices[0].text)

    with httpx.stream("POST", f"{url}/v1/completions", json=long) as got:
        lines = got.iter_lines()  # kept: a dropped iterator closes the connection
        next(lines)
        waiting = [threading.Thread(target=ask) for _ in range(2)]
        for thread in waiting:
            thread.start()
        deadline = time.monotonic() + 10
        while httpx.get(f"{url}/healthz").json()["pending"] < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        refused = httpx.post(f"{url}/v1/completions", json={**long, "stream": False})
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert answers == []
        del lines
    for thread in waiting:
        thread.join(timeout=20)
    assert len(answers) == 2
    assert answers[0] == answers[1]
    assert idle(url)


def test_a_fault_in_the_engine_is_an_answer_too_and_the_next_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine()
    app = create_app({"tiny": engine}, {"tiny": "00"})
    good = engine.stream

    def broken(prompt: list[int], params: SamplingParams) -> Iterator[int]:
        yield 50
        raise ZeroDivisionError

    with running(app) as address:
        monkeypatch.setattr(engine, "stream", broken)
        body = {"model": "tiny", "prompt": "The dog", "max_tokens": 3}
        whole = httpx.post(f"{address}/v1/completions", json=body)
        assert whole.status_code == 500
        assert whole.json()["error"]["type"] == "server_error"
        streamed = ""
        with (
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream("POST", f"{address}/v1/completions", json={**body, "stream": True}) as got,
        ):
            for line in got.iter_lines():
                streamed += line
        assert "server_error" in streamed
        assert "[DONE]" not in streamed
        monkeypatch.setattr(engine, "stream", good)
        assert httpx.post(f"{address}/v1/completions", json=body).status_code == 200


def test_an_event_is_one_line_to_clients_that_cut_text_at_every_line_end(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "a\x85b\u2028c\u2029d\x1ce\x0bf\rg\nh"
    engine = tiny_engine()
    monkeypatch.setattr(engine, "stream", lambda prompt, params: iter(engine.tokenizer.encode(said)))
    body = {"model": "tiny", "prompt": "The dog", "max_tokens": 60, "stream": True}
    with (
        running(create_app({"tiny": engine}, {"tiny": "00"})) as address,
        httpx.stream("POST", f"{address}/v1/completions", json=body) as answer,
    ):
        lines = [line for line in answer.iter_lines() if line]
    assert lines.pop() == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert "".join(event["choices"][0]["text"] for event in events if event["choices"]) == said


def test_what_is_said_is_not_logged(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="uvicorn"):
        secret = "xyzzy-secret"
        for body in ({"prompt": secret}, {"prompt": secret, "n": 2}, {"prompt": [secret, secret]}):
            httpx.post(f"{url}/v1/completions", json={"model": "quickstart/tiny", "max_tokens": 2, **body})
    assert secret not in caplog.text


def test_only_local_names_are_answered_where_that_is_asked_for() -> None:
    with running(create_app({"tiny": tiny_engine()}, {"tiny": ""}, allowed_hosts=("127.0.0.1", "localhost"))) as url:
        assert httpx.get(f"{url}/v1/models").status_code == 200
        assert httpx.get(f"{url}/v1/models", headers={"host": "evil.example"}).status_code == 400


def test_the_page_is_whole_and_may_load_nothing_from_elsewhere(url: str) -> None:
    got = httpx.get(url)
    assert got.headers["content-type"].startswith("text/html")
    policy = got.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "connect-src 'self'" in policy
    for word in ('src="http', 'href="http', "@import", "url(http", "innerHTML", "insertAdjacentHTML", "eval("):
        assert word not in got.text, word


def test_stopping_the_server_cancels_answers_in_the_making() -> None:
    got: list[str] = []

    def read(address: str) -> None:
        body = {"model": "endless", "prompt": "Once", "stream": True}
        try:
            with httpx.stream("POST", f"{address}/v1/completions", json=body, timeout=20) as answer:
                got.extend(json.loads(line[6:])["id"] for line in answer.iter_lines() if line.startswith("data: {"))
        except httpx.HTTPError:
            pass

    with running(create_app({"endless": endless_engine()}, DIGESTS)) as address:
        reader = threading.Thread(target=read, args=(address,))
        reader.start()
        while not got and reader.is_alive():
            time.sleep(0.01)
    reader.join(timeout=10)
    assert not reader.is_alive()
    assert got
