"""Who may ask the live page what; no broker is needed for that, and none is there."""

import http.client
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

pytest.importorskip("starlette", reason="no starlette: install the extra console")
pytest.importorskip("uvicorn", reason="no uvicorn: install the extra console")

from live_site import running

from streamfilter.config import Settings
from streamfilter.console.assembly import Console, topics_shown
from streamfilter.errors import ConfigurationInvalid


def settings(**console: Any) -> Settings:
    """With a broker that is not there."""
    return Settings.model_validate(
        {
            "kafka": {"bootstrap": "127.0.0.1:1"},
            "console": {"port": 0, **console},
            "outputs": {"labels": "labels"},
        }
    )


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    made = Console(settings(), say=print)
    with running(made):
        yield made


def ask(
    console: Console, path: str, *, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of an answer."""
    address = urlsplit(console.url).netloc
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read().decode()
    finally:
        connection.close()


PATHS = ["/", "/review", "/rates", "/exposures", "/labels", "/wall", "/labels.jsonl"]


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_there_without_a_broker_and_says_so(console: Console, path: str) -> None:
    """With a policy that lets nothing in from elsewhere, nothing be run, and nothing be framed."""
    status, headers, text = ask(console, path)
    assert 200 == status
    assert "Not connected" in text or path.endswith("jsonl")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "nosniff" == headers["x-content-type-options"]
    assert "style=" not in text
    assert " onclick" not in text


def test_labels_are_to_be_had_as_parquet(console: Console) -> None:
    """Also before there are any."""
    pytest.importorskip("pyarrow", reason="no pyarrow: install the extra archive")
    with urllib.request.urlopen(f"{console.url}labels.parquet", timeout=30) as answer:
        assert answer.read().startswith(b"PAR1")


def test_health_and_metrics_are_told(console: Console) -> None:
    """A broker that is away is waited for: no restart mends that."""
    assert (200, "ok\n") == ask(console, "/healthz")[::2]
    text = ask(console, "/metrics")[2]
    assert "streamfilter_console_cards_total 0.0" in text
    assert 'streamfilter_console_refused_total{reason="login"} 0.0' in text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[", ""])
def test_on_this_machine_other_names_are_refused(console: Console, host: str) -> None:
    """A page of another host could point its name here (DNS rebinding)."""
    assert 421 == ask(console, "/", Host=host)[0]


def cookie_and_token(console: Console) -> tuple[str, str]:
    _, headers, _ = ask(console, "/")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    pair = cookie.split(";")[0]
    return pair, pair.split("=")[1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 303),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Cookie": ""}, 403),
        ({"Cookie": "streamfilter-console=" + "0" * 32}, 403),
    ],
)
def test_only_a_page_of_ours_may_post(
    console: Console, changes: dict[str, str], expected: int
) -> None:
    """By origin and by a text that only our forms know."""
    cookie, token = cookie_and_token(console)
    origin = console.url.rstrip("/")
    headers = {"Origin": origin, "Cookie": cookie, "Sec-Fetch-Site": "same-origin", **changes}
    body = urlencode({"person": "ana", "token": token})
    assert expected == ask(console, "/person", method="POST", body=body, **headers)[0]


def test_a_form_is_bounded(console: Console) -> None:
    """In bytes and in fields."""
    cookie, token = cookie_and_token(console)
    headers = {"Origin": console.url.rstrip("/"), "Cookie": cookie}
    body = urlencode({"person": "a" * 10_000, "token": token})
    assert 413 == ask(console, "/person", method="POST", body=body, **headers)[0]
    many = urlencode({f"f{n}": "" for n in range(50)})
    assert 400 == ask(console, "/person", method="POST", body=many, **headers)[0]


def test_a_label_needs_a_name(console: Console) -> None:
    """Nobody speaks for all."""
    cookie, token = cookie_and_token(console)
    headers = {"Origin": console.url.rstrip("/"), "Cookie": cookie}
    body = urlencode({"answer": "right", "token": token, "place": "/card/a/0/1"})
    status, _, text = ask(console, "/labels", method="POST", body=body, **headers)
    assert (403, "give your name first\n") == (status, text)


@pytest.mark.parametrize("path", [
    "/card/other-topic/0/1", "/card/streamfilter.annotations/0/99999999999999999999999",
    "/exposures/a/b", "/static/../app.py", "/static/app.py", "/nothing",
])  # fmt: skip
def test_what_is_not_there_is_not_found(console: Console, path: str) -> None:
    """No topic but that of annotations can be read, and no file but the page's own."""
    assert 404 == ask(console, path)[0]


@pytest.mark.parametrize("query", [
    "score_from=nan&before=-1", "minutes=1e99&id=%00%ff", "before=" + "9" * 50, "verdict=%3Cb%3E",
])  # fmt: skip
def test_an_odd_choice_is_no_fault(console: Console, query: str) -> None:
    """What cannot be read is as if it were not given; what can is escaped."""
    status, _, text = ask(console, f"/?{query}")
    assert 200 == status
    assert "<b>" not in text


def test_a_password_is_asked_for() -> None:
    """Of every page; of the health check alone none."""
    made = Console(settings(user="ops", password="right"), say=print)
    with running(made):
        status, headers, _ = ask(made, "/")
        assert 401 == status
        assert "Basic" in headers["www-authenticate"]
        assert 401 == ask(made, "/metrics", Authorization="Basic b3BzOndyb25n")[0]
        assert 200 == ask(made, "/metrics", Authorization="Basic b3BzOnJpZ2h0")[0]
        assert 200 == ask(made, "/healthz")[0]


def test_a_network_address_needs_certificate_and_password() -> None:
    """As for the metrics."""
    with pytest.raises(ValueError, match="is open to the network"):
        settings(host="0.0.0.0")
    assert settings(host="0.0.0.0", allow_open=True).console.allow_open


def test_a_taken_port_is_a_start_up_error(console: Console) -> None:
    """The setting is named."""
    port = urlsplit(console.url).port
    with pytest.raises(ConfigurationInvalid, match=r"console\.host/port"):
        Console(settings(port=port), say=print)


def test_without_annotations_there_is_nothing_to_show() -> None:
    """The setting is named."""
    bare = Settings.model_validate({"outputs": {"annotations": ""}})
    with pytest.raises(ConfigurationInvalid, match=r"outputs\.annotations"):
        topics_shown(bare)


def test_the_page_follows_what_comes_over_one_connection(console: Console) -> None:
    """It says what it knows once a second; so many may follow and no more."""
    address = urlsplit(console.url).netloc
    open_ = []
    try:
        for _ in range(33):
            connection = http.client.HTTPConnection(address, timeout=10)
            connection.request("GET", "/events?kind=live")
            open_.append((connection, connection.getresponse()))
        assert [200] * 32 + [503] == [answer.status for _, answer in open_]
        lines = [open_[0][1].readline().decode() for _ in range(5)]
        assert "retry: 1000\n" == lines[0]
        state = json.loads(lines[3].removeprefix("data: "))
        assert not state["connected"]
    finally:
        for connection, answer in open_:
            answer.close()
            connection.close()


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """With the section that it stands in."""
    for name in ("crt", "key"):
        (tmp_path / name).write_text("nothing")
    chosen = settings(certificate_file=tmp_path / "crt", key_file=tmp_path / "key")
    with pytest.raises(ConfigurationInvalid, match=r"console\.certificate_file"):
        Console(chosen, say=print)
