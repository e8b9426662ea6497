"""What a crawl can't or mustn't do is one clear line, and hostile sites cost themselves."""

from __future__ import annotations

import datetime
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from crawl_cases import P, links, page, robots
from crawl_run import TERMS, crawl
from crawl_web import Reply, Web

from groundup.base.errors import DataError, RequestError
from groundup.stages.source.config import SourceConfig


def test_open_gate_uses_what_could_not_be_known_and_says_so(tmp_path: Path) -> None:
    hosts = {
        "failing": {"/robots.txt": Reply(b"", 500), "/": P},
        "closed": {"/robots.txt": robots("User-agent: *\nDisallow: /")},
    }
    with Web(hosts) as web:
        done = crawl(tmp_path, web, seeds=[web.url("failing"), web.url("closed")], fail_closed=False, delay="0.01 s")
        assert web.asked("closed") == ["/robots.txt"]
    (kept,) = done.pages
    assert kept["permission"] is None
    assert done.visits[web.url("failing")]["decision"] == "unknown"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=9))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(pem))
    return path


@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_are_verified(
    tmp_path: Path, certificate: Path, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Web({"tls": {"/": page("over TLS")}}, certificate=certificate) as web:
        url = f"https://localhost:{web.ports['tls'].partition(':')[2]}/"
        if trusted:
            (kept,) = crawl(tmp_path, web, seeds=[url], delay="0.01 s").pages
            assert kept["url"] == url
        else:
            with pytest.raises(DataError, match="1 unknown_robots"):
                crawl(tmp_path, web, seeds=[url], delay="0.01 s")
            assert not web.log


def test_other_ai_agents_can_be_named(tmp_path: Path) -> None:
    hosts = {
        "a": {"/robots.txt": robots("User-agent: MadeUpBot\nDisallow: /\n\nUser-agent: GPTBot\nDisallow: /x\n"), "/": P}
    }
    with Web(hosts) as web, pytest.raises(DataError, match="1 refused_robots_ai"):
        crawl(tmp_path, web, seeds=[web.url("a")], ai_agents=["madeupbot"], delay="0.01 s")


@pytest.mark.parametrize("name", ["localhost", "2130706433", "0x7f.1"])
def test_names_of_private_addresses_are_refused_after_they_were_looked_up(tmp_path: Path, name: str) -> None:
    with Web({"a": {"/": P}}) as web, ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        seeds = [f"http://{name}:{server.server_port}/"]
        with pytest.raises(DataError, match=r"gave no pages \(left out: 1 private_address\)"):
            crawl(tmp_path, web, seeds=seeds, allow_private=False, delay="0.01 s")
        server.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.socket.accept()


def test_nothing_usable_is_one_line_with_reasons_and_the_next_run_asks_anew(tmp_path: Path) -> None:
    with Web({"closed": {"/robots.txt": robots("User-agent: *\nDisallow: /\n")}}) as web:
        for _ in range(2):
            with pytest.raises(DataError, match=r"^the crawl 'crawl' gave no pages \(left out: 1 refused_robots\)$"):
                crawl(tmp_path, web, seeds=[web.url("closed")])
        assert web.asked("closed") == ["/robots.txt"] * 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"agent": None}, "field 'crawl.agent' is required"),
        ({"agent": "Mozilla/5.0"}, "an address at which a person answers"),
        ({"agent": "bot\r\nCookie: x (a@b.org)"}, "plain ASCII on one line"),
        ({"seeds": ["ftp://example.org/"]}, "'ftp://example.org/' is no address to start from"),
        ({"seeds": ["http://me:secret@example.org/"]}, "no address to start from"),
        ({"seeds": ["http://192.168.1.1/"]}, "is a private address"),
        ({"seeds": ["http://2130706433/", "http://[::1]/"]}, "is a private address"),
        ({"allow": ["*.example.com"]}, "is on none of the hosts in 'allow'"),
        ({"allow": ["http://example.org"]}, "is no host"),
        ({"seeds": []}, "seeds"),
        ({"licence": " "}, "material without a known licence"),
        ({"cache": "2 days"}, "24 hours at most"),
        ({"time": "soon"}, "needs a number and a unit"),
        ({"robots": False}, "unknown field 'crawl.robots'"),
    ],
)
def test_bad_request_is_one_clear_line(fields: dict[str, Any], message: str) -> None:
    given = {**TERMS, "seeds": ["https://example.org/"], "allow_private": False, **fields}
    data = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(RequestError, match=re.escape(message)) as caught:
        SourceConfig.parse({"crawl": data}, "artifact 'pages'")
    assert "\n" not in str(caught.value)


def test_source_needs_files_or_a_crawl() -> None:
    with pytest.raises(RequestError, match="name what to read: 'files', 'crawl' or both"):
        SourceConfig.parse({}, "artifact 'pages'")


def test_hostile_pages_cost_themselves(tmp_path: Path) -> None:
    strange = {
        "/deep": Reply(b"<html>" + b"<div>" * 60000 + b"deep<a href=/x>x</a>"),
        "/attributes": Reply(b"<html>words<a " + b"a=b " * 100000 + b"href=/x>x</a>"),
        "/nul": Reply(b"<html>words\0\0<a href='/\0x'>x</a>"),
        "/header": page(headers=(("X-Robots-Tag", ":,;" * 1000), ("Link", "<" * 5000))),
        "/entities": Reply(b"<!DOCTYPE x [<!ENTITY a 'b'><!ENTITY c '&a;&a;'>]><html>words<a href='&c;x'>x</a>"),
        "/utf16": Reply("<html>words<a href='/linked'>x</a>".encode("utf-16"), type="text/html; charset=utf-16"),
        "/links": page(
            links(
                "/" + "a" * 5000,
                "http://[",
                "http://127.0.0.3:99999/",
                "//",
                "http:///x",
                "\x01",
                "/%zz%",
                "http://a..b/",
            )
        ),
        "/base": page(links("y"), '<base href="http://me:secret@[bad/">'),
        "/refresh": page("r", '<meta http-equiv="refresh" content="0; url=http://10.0.0.1/">'),
    }
    record = (
        b"<html>words\r\n\r\nWARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.org/\r\n\r\nHTTP/1.1 200 OK"
    )
    strange["/warc"] = Reply(record, claims=-1)
    with Web({"strange": {**strange, "/linked": P}}) as web:
        done = crawl(tmp_path, web, seeds=[web.url("strange", path) for path in strange], delay="0 s", timeout="20 s")
    used = {url.partition(web.ports["strange"])[2] for url, row in done.visits.items() if row["used"]}
    assert used == {*strange, "/linked"}
    assert {row["reason"] for row in done.visits.values()} <= {None, "http_status"}
    assert {page["url"] for page in done.pages} == {web.url("strange", path) for path in used - {"/warc"}}
    assert done.outcome.metrics["sources"]["crawl"]["wrong_length"] == 1
