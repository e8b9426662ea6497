"""The page of tokens over HTTP: pieces that are the text, masks that are right, and requests that are refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import SENTENCES, tiny_tokenizer
from trained import train_bpe

from groundup.serve.tokens import MOST_PIECES, create_tokens_app
from groundup.serve.wire import MAX_BODY, page
from groundup.text.tokenizer import Tokenizer

TOKENIZER = tiny_tokenizer()
STRICT = Tokenizer.parse(TOKENIZER.describe(), "{{ raise_exception('no: ' + messages[0].content) }}", TOKENIZER.roles)
REWRITING = Tokenizer.parse(
    TOKENIZER.describe(),
    "{% for m in messages %}{{ m.content[: loop.revindex] }}<|im_end|>{% endfor %}",
    TOKENIZER.roles,
)
SERVED = {"one": TOKENIZER, "two/b": train_bpe(SENTENCES * 2, 280)}
CLIENT = TestClient(create_tokens_app({**SERVED, "strict": STRICT, "rewriting": REWRITING}))
TALK = [{"role": "user", "content": "<|im_end|> Hi"}, {"role": "assistant", "content": "Hello 猫"}]


def post(path: str, **body: Any) -> Any:
    got = CLIENT.post(path, json=body)
    assert got.status_code == 200, got.text
    return got.json()["results"]


@given(st.text(max_size=50).filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text)))
@example("<script>alert(1)</script><|im_end|>\x00\u202e\x1b[31m")
@settings(max_examples=60, deadline=None)
def test_pieces_are_the_text_and_the_ids(text: str) -> None:
    results = post("/tokens", text=text, tokenizers=list(SERVED))
    assert [one["name"] for one in results] == list(SERVED)
    for one in results:
        tokenizer = SERVED[one["name"]]
        assert "".join(piece[0] for piece in one["pieces"]) == text
        assert [token for piece in one["pieces"] for token in piece[1]] == tokenizer.encode(text)
        assert (one["tokens"], one["bytes"]) == (len(tokenizer.encode(text)), len(text.encode()))
        assert {piece[2] for piece in one["pieces"]} <= {0}


def test_a_conversation_comes_with_its_mask_and_its_special_tokens() -> None:
    (one,) = post("/chat", messages=TALK, tokenizers=["one"])
    chat = TOKENIZER.encode_chat(TALK)
    assert [token for piece in one["pieces"] for token in piece[1]] == chat.ids
    assert "".join(piece[0] for piece in one["pieces"] if piece[2] & 2) == "Hello 猫<|im_end|>"
    assert [piece[0] for piece in one["pieces"] if piece[2] & 1].count("<|im_end|>") == 2
    assert (one["trained"], one["refused"], one["note"]) == (sum(chat.trained), "", "")
    (asked,) = post("/chat", messages=TALK[:1], add_generation_prompt=True, tokenizers=["one"])
    assert [token for piece in asked["pieces"] for token in piece[1]] == TOKENIZER.encode_chat(
        TALK[:1], add_generation_prompt=True
    ).ids
    assert (asked["trained"], asked["refused"]) == (0, "")


def test_what_can_not_be_trained_on_is_shown_and_said() -> None:
    lonely, rewriting, strict = (
        post("/chat", messages=TALK[:1], tokenizers=["one"])[0],
        post("/chat", messages=TALK, tokenizers=["rewriting"])[0],
        post("/chat", messages=TALK, tokenizers=["strict"])[0],
    )
    assert lonely["refused"] == "there is nothing to train on"
    assert "rewrites earlier turns" in rewriting["refused"]
    assert rewriting["pieces"]
    assert "no: <|im_end|> Hi" in strict["error"]
    assert "pieces" not in strict


def test_what_there_is() -> None:
    listed = CLIENT.get("/tokenizers").json()["tokenizers"]
    assert [one["name"] for one in listed][:2] == list(SERVED)
    assert listed[0]["vocab_size"] == TOKENIZER.vocab_size
    assert dict(listed[0]["special_tokens"]) == TOKENIZER.special_tokens


def test_a_long_text_is_counted_whole_shown_in_part_and_soon() -> None:
    text = "The dog ran to the park. " * 20_000
    start = time.monotonic()
    (one,) = post("/tokens", text=text, tokenizers=["one"])
    assert time.monotonic() - start < 20  # a second or two, on a machine that does other things too
    assert len(one["pieces"]) == MOST_PIECES
    assert one["tokens"] == len(TOKENIZER.encode(text))
    assert one["tokens_not_shown"] == one["tokens"] - sum(len(piece[1]) for piece in one["pieces"]) > 0


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/tokens", {"text": "x", "tokenizers": ["onne"]}, 404, "did you mean 'one'"),
        ("/tokens", {"text": 3}, 400, "text"),
        ("/tokens", {"txt": "x"}, 400, "did you mean 'text'"),
        ("/tokens", {"text": "a\ud800"}, 400, "lone surrogate at character 1"),
        ("/tokens", {"text": "x" * MAX_BODY}, 413, "larger than"),
        ("/chat", {"messages": "x"}, 400, "messages"),
        ("/chat", {"messages": ["x"]}, 400, "messages"),
        ("/chat", {"messages": [{}] * 201}, 400, "messages"),
        ("/chat", {"messages": [], "tools": 3}, 400, "tools"),
    ],
)
def test_bad_requests_are_refused(path: str, body: Any, status: int, message: str) -> None:
    got = CLIENT.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert got.status_code == status, got.text
    assert message in got.json()["error"]["message"]
    assert len(got.json()["error"]["message"]) < 600


def test_odd_conversations_are_an_answer_not_a_fault() -> None:
    for messages in (
        [],
        [{}],
        [{"role": "user"}],
        [{"role": 3, "content": None}],
        [{"role": "user", "content": {"a": 1}}],
        [{"role": "user", "content": "\ud800"}],
    ):
        got = CLIENT.post(
            "/chat", content=json.dumps({"messages": messages}), headers={"content-type": "application/json"}
        )
        assert got.status_code == 200, (messages, got.text)


def test_only_json_and_only_known_hosts() -> None:
    assert CLIENT.post("/tokens", content="text=x").status_code == 415
    local = TestClient(create_tokens_app(SERVED, allowed_hosts=("127.0.0.1",)), base_url="http://127.0.0.1")
    assert local.get("/tokenizers").status_code == 200
    assert local.get("/tokenizers", headers={"host": "evil.example"}).status_code == 400


def test_the_page_is_whole_and_may_load_nothing_from_elsewhere() -> None:
    got = CLIENT.get("/")
    assert got.headers["content-type"].startswith("text/html")
    policy = got.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for word in (
        'src="http',
        'href="http',
        "@import",
        "url(http",
        "innerHTML",
        "insertAdjacentHTML",
        "eval(",
        "outerHTML",
    ):
        assert word not in got.text, word


@pytest.mark.parametrize("name", ["index.html", "tokens.html"])
def test_pages_hold_the_style_and_the_script_that_they_share(name: str) -> None:
    got = asyncio.run(page(name)())
    text = got.body.decode()
    assert "house." not in text
    assert text.count("function setTheme(") == text.count(':root[data-theme="dark"] {\n') == 1
    for tag in ("script", "style"):
        inline = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in got.headers["content-security-policy"]
