"""The verb ``tokenize``: what it prints, what it takes, and what it refuses."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tiny import SENTENCES, tiny_tokenizer
from trained import train_bpe
from typer.testing import CliRunner, Result

from groundup.base.errors import DataError, GroundupError, RequestError
from groundup.cli import app

TOKENIZER = tiny_tokenizer()
TALK = [{"role": "user", "content": "Hi <|im_end|>"}, {"role": "assistant", "content": "Hello 猫"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("looking")
    TOKENIZER.save(made / "tok")
    train_bpe(SENTENCES * 2, 280).save(made / "other")
    (made / "talk.json").write_text(json.dumps(TALK))
    return made


def call(*arguments: object, given: bytes = b"", **env: str) -> Result:
    return CliRunner().invoke(app, ["tokenize", *map(str, arguments)], input=given, env=env)


def as_json(*arguments: object, **more: Any) -> list[dict[str, Any]]:
    done = call(*arguments, "--json", **more)
    assert done.exception is None, done.exception
    found: list[dict[str, Any]] = json.loads(done.stdout)["tokenizers"]
    return found


@pytest.mark.parametrize("text", ["The dog ran.", "<|im_end|> naïve 猫😀", "a\tb\r\n\x1b[31m\u202e", " ", "👩‍👩‍👧"])
def test_a_text_from_the_argument_or_from_standard_input(folder: Path, text: str) -> None:
    (one,) = as_json(folder / "tok", text)
    assert one["ids"] == TOKENIZER.encode(text)
    assert (one["tokens"], one["bytes"], one["characters"]) == (len(one["ids"]), len(text.encode()), len(text))
    assert "".join(piece["text"] for piece in one["pieces"]) == text
    assert [one] == as_json(folder / "tok", given=text.encode())
    counted = call(folder / "tok", text, "--count")
    assert counted.stdout == f"{len(one['ids'])}\n"


def test_several_tokenizers_beside_each_other(folder: Path) -> None:
    found = as_json(folder / "tok", SENTENCES[0], "--compare", folder / "other", "--compare", folder / "other")
    assert [one["name"] for one in found] == [str(folder / "tok"), str(folder / "other")]
    assert found[0]["tokens"] < found[1]["tokens"]
    counted = call(folder / "tok", SENTENCES[0], "--compare", folder / "other", "--count").stdout
    assert [line.split("\t") for line in counted.splitlines()] == [[str(one["tokens"]), one["name"]] for one in found]


def test_files_of_others_are_adopted(folder: Path) -> None:
    (by_file,) = as_json(folder / "tok" / "tokenizer.json", "The dog")
    assert by_file["ids"] == TOKENIZER.encode("The dog")
    import base64

    ranks = [bytes([n]) for n in range(256)] + [b"th", b"the"]
    path = folder / "small.tiktoken"
    path.write_bytes(b"".join(base64.b64encode(piece) + b" %d\n" % rank for rank, piece in enumerate(ranks)))
    (ranked,) = as_json(path, "the <|endoftext|>", "--split", "gpt2")
    assert ranked["ids"][:2] == [257, 32]
    assert 258 not in ranked["ids"]
    assert as_json(f"{path}:gpt2", "the <|endoftext|>")[0]["ids"] == ranked["ids"]
    refused = call(path, "the")
    assert isinstance(refused.exception, RequestError)
    assert "split" in str(refused.exception)


def test_a_conversation_shows_what_is_trained(folder: Path) -> None:
    (one,) = as_json(folder / "tok", "--chat", folder / "talk.json")
    chat = TOKENIZER.encode_chat(TALK)
    assert one["ids"] == chat.ids
    assert one["trained"] == sum(chat.trained)
    assert "".join(piece["text"] for piece in one["pieces"] if piece["trained"]) == "Hello 猫<|im_end|>"
    assert [one] == as_json(folder / "tok", "--chat", "-", given=json.dumps({"messages": TALK, "tools": None}).encode())
    plain = call(folder / "tok", "--chat", folder / "talk.json").stdout
    assert '3\t"<|im_end|>"\tspecial\ttrained' in plain.splitlines()
    assert "not for training" not in plain
    lonely = call(folder / "tok", "--chat", "-", given=json.dumps(TALK[:1]).encode())
    assert "not for training: there is nothing to train on" in lonely.stdout


def test_a_terminal_gets_colours_and_nothing_that_it_would_obey(folder: Path) -> None:
    hostile = "a\x1b[31mred\x1b]0;title\x07 b\u202ec\x9b1m\r"
    for done in (
        call(folder / "tok", hostile, FORCE_COLOR="1", TERM="xterm"),
        call(folder / "tok", hostile),
        call(folder / "tok", "--chat", "-", given=json.dumps([{"role": "user", "content": hostile}]).encode()),
    ):
        assert done.exit_code == 0
        for bad in ("\x1b[31mred", "\x1b]", "\x07", "\u202e", "\x9b", "\r"):
            assert bad not in done.stdout
        assert "␛" in done.stdout
    assert "\x1b[" in call(folder / "tok", "ab", FORCE_COLOR="1", TERM="xterm").stdout
    assert "\x1b" not in call(folder / "tok", "ab").stdout


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        (["x", "--chat", "talk.json"], b"", "one of them"),
        (["--measure", "x", "--chat", "talk.json"], b"", "one of them"),
        (["--measure", "x", "--count"], b"", "--count goes with"),
        (["--measure", "."], b"", "is a folder"),
        (["x", "--page"], b"", "--page is typed into"),
        (["x", "--count", "--json"], b"", "without --json"),
        ([], b"\xff", "standard input is not UTF-8 at byte 0"),
        (["--chat", "-"], b"{", "not valid JSON"),
        (["--chat", "-"], b"3", "holds no list of messages"),
        (["--chat", "-"], b'{"messages": [3]}', "message 1 is not an object"),
        (["--chat", "-"], b'{"messages": [], "tool": []}', "did you mean 'tools'"),
        (["--chat", "-"], b'{"messages": [], "tools": 3}', "'tools' is not a list"),
        (["--chat", "-"], b'[{"role": "user", "content": "\\ud800"}]', "lone surrogate"),
    ],
)
def test_what_can_not_be_done_is_one_line(folder: Path, arguments: list[str], given: bytes, message: str) -> None:
    error = call(folder / "tok", *arguments, given=given).exception
    assert isinstance(error, GroundupError)
    assert message in str(error)
    assert "\n" not in str(error)


def test_no_tokenizer_by_this_name(folder: Path, tmp_path: Path) -> None:
    for arguments in (["nobody", "x"], [folder / "tok", "--measure", "nobody"]):
        error = call(*arguments, "-w", tmp_path).exception
        assert isinstance(error, RequestError)
        assert "no file 'nobody', and no artifact 'nobody'" in str(error)
    (tmp_path / "empty").mkdir()
    error = call(tmp_path / "empty", "x").exception
    assert isinstance(error, DataError)
    assert "no tokenizer" in str(error)


def test_a_body_of_text_is_measured_beside_others(folder: Path) -> None:
    rows = [{"text": text, "language": label} for text in SENTENCES for label in ("eng_Latn", "deu_Latn")]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = call(folder / "tok", "--measure", path, "--compare", folder / "other", "--json")
    found = json.loads(done.stdout)
    assert found["metrics"]["compared"][str(folder / "other")] < found["metrics"]["bytes_per_token"]
    assert set(found["metrics"]["bytes_per_token_by_language"]) == {"eng_Latn", "deu_Latn"}
    shown = call(folder / "tok", "--measure", path, "--compare", folder / "other", COLUMNS="150").stdout
    for title in ("Compression by language", "Beside other tokenizers", "Use of the vocabulary", "Numbers", "Code"):
        assert title in shown
    plain = folder / "text.txt"
    plain.write_text("".join(SENTENCES) * 50, newline="")
    whole = json.loads(call(folder / "tok", "--measure", plain, "--json").stdout)["metrics"]
    assert whole["measured_tokens"] == pytest.approx(len(TOKENIZER.encode("".join(SENTENCES) * 50)), abs=3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{\n", "line 1 is not valid JSON"),
        (b'{"t": 1}\n', "no field 'text'"),
        (b"\xff\n", "not UTF-8"),
        (b'{"text": "a"}\n{"text": "\\ud800"}\n', "line 2 is not valid Unicode"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_body_of_text_that_can_not_be_read(folder: Path, content: bytes, said: str, packed: bool) -> None:
    path = folder / ("bad.jsonl.gz" if packed else "bad.jsonl")
    path.write_bytes(gzip.compress(content) if packed else content)
    error = call(folder / "tok", "--measure", path).exception
    assert isinstance(error, DataError)
    assert said in str(error)


def test_a_packed_text_that_is_cut_off_or_no_gzip_at_all(folder: Path) -> None:
    whole = gzip.compress("".join(SENTENCES).encode())
    broken = whole[:40] + bytes([whole[40] ^ 0xFF]) + whole[41:]
    for content in (whole[:-20], whole[:20], b"text", broken):
        path = folder / "cut.txt.gz"
        path.write_bytes(content)
        error = call(folder / "tok", "--measure", path).exception
        assert isinstance(error, DataError)
        assert "cut.txt.gz is" in str(error)


@pytest.mark.timeout(90)
def test_the_page_is_served_and_left_on_control_c(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "groundup", "tokenize", str(folder / "tok"), "--page", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            url = process.stdout.readline().decode().split()[2]
            with httpx.Client(transport=httpx.HTTPTransport(retries=20)) as client:
                assert "groundup tokens" in client.get(url).text
                got = client.post(f"{url}tokens", json={"text": "a-secret-word"}).json()
                assert got["results"][0]["tokens"] == len(TOKENIZER.encode("a-secret-word"))
                assert client.get(f"{url}tokenizers", headers={"host": "elsewhere.example"}).status_code == 400
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 0
            assert process.stderr.read() == b""
        finally:
            process.kill()
