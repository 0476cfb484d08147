"""Secrets in texts: found however they are written, and nothing else is."""

import base64
import io
import json
import urllib.parse

import pytest

from streamfilter.redaction import HIDDEN, CleanStream, Redactor, url_secrets

SECRET = 'p"a\\ss wörd/+&=0123'


def knowing(*secrets: str) -> Redactor:
    """A redactor that knows these."""
    redactor = Redactor()
    for secret in secrets:
        redactor.learn(secret)
    return redactor


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(SECRET),
        SECRET.upper().lower(),
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        f"before{SECRET}after",
    ],
)
def test_a_secret_is_found_however_it_is_escaped(written: str) -> None:
    """Libraries put what they are given into URLs, JSON and representations."""
    cleaned = knowing(SECRET).clean(written)
    assert HIDDEN in cleaned
    assert "0123" not in cleaned


@pytest.mark.parametrize("before", ["", "u", "me", "ops:"])
def test_a_secret_is_found_within_base64(before: str) -> None:
    """As HTTP sends user and password, behind a name of any length."""
    secret = "a-long-token-of-32-characters-xy"
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        written = encode(f"{before}{secret}, and more".encode()).decode()
        cleaned = knowing(secret).clean(written)
        assert HIDDEN in cleaned
        assert len(cleaned) < 40


@pytest.mark.parametrize(
    ("whole", "part"),
    [
        ("me:a-password", "a-password"),
        ("Bearer abcdefgh", "abcdefgh"),
        ("-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQ\n-----END KEY-----", "MIIEvQIBADANBg"),
        ("https://hooks.example.org/services/T0/B0/abcdefghijkl", "abcdefghijkl"),
        ("https://me:a-password@h.org/x?token=a-token-1", "a-password"),
        ("https://me:a-password@h.org/x?token=a-token-1", "a-token-1"),
        ("one.example.org:9092,two.example.org:9092", "two.example.org:9092"),
    ],
)
def test_a_piece_of_a_secret_is_found_alone(whole: str, part: str) -> None:
    """Clients take apart what they are given, and quote what they stumble over."""
    assert f"at {HIDDEN}: no" == knowing(whole).clean(f"at {part}: no")


def test_the_host_of_a_secret_url_is_shown() -> None:
    """An operator needs to see whom the service calls."""
    redactor = knowing("https://hooks.example.org/services/T0/B0/abcdefghijkl")
    assert "to hooks.example.org" == redactor.clean("to hooks.example.org")


@pytest.mark.parametrize("secret", ["", " ", "a", "\n", "ab", "info", "alert"])
def test_a_short_secret_changes_nothing(secret: str) -> None:
    """It would stand in every other word by chance."""
    text = "an alert: info about a table"
    assert text == knowing(secret).clean(text)


def test_a_secret_that_is_a_word_is_found_as_a_word() -> None:
    """Words that only contain it are left."""
    assert f"{HIDDEN}: partitions" == knowing("partition").clean("partition: partitions")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h.org/a/b: no", "https://h.org/a/b: no"),
        ("https://me:pw@h.org:8081/a: no", "https://h.org:8081/a: no"),
        ("<http://h.org/a?token=x>", "<http://h.org/a?(hidden)>"),
        ("'https://h.org/a?token=x#y', then", "'https://h.org/a?(hidden)', then"),
        ("https://h.org/a#access_token=x", "https://h.org/a?(hidden)"),
        ("https://h.org?token=x: 401", "https://h.org?(hidden): 401"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("https://h.org/a?t=x. https://me@i.org", "https://h.org/a?(hidden). https://i.org"),
    ],
)
def test_urls_are_shown_without_user_password_and_query(text: str, shown: str) -> None:
    """Also where nobody said that these are secret; cleaned twice they stay as they are."""
    redactor = Redactor()
    cleaned = redactor.clean(text)
    assert shown == cleaned
    assert cleaned == redactor.clean(cleaned)


def test_a_secret_is_found_where_a_text_was_cut() -> None:
    """Details are bounded, and its beginning says too much already."""
    secret = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = "x" * 200 + " " + secret
    assert "x" * 200 + f" {HIDDEN}" == knowing(secret).clean(text[:215])


def test_the_longest_of_several_secrets_is_found_first() -> None:
    """One may begin with another."""
    assert HIDDEN == knowing("marker-one", "marker-one-two").clean("marker-one-two")


def test_what_was_written_stands_for_a_secret() -> None:
    """An operator sees which setting it is."""
    redactor = Redactor()
    redactor.learn("hunter2", "${PW}")
    redactor.learn("hunter2")
    assert "with ${PW}" == redactor.clean("with hunter2")


def test_bytes_are_no_matter_of_a_clean_stream() -> None:
    """Packets that are written to standard output stay as they are."""
    below = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stream = CleanStream(below)
    print("https://me:pw@h.org", file=stream)
    assert (False, "utf-8") == (stream.isatty(), stream.encoding)
    stream.buffer.write(b"pw")
    stream.flush()
    assert b"pw" in below.buffer.getvalue()
    below.seek(0)
    assert "me:pw" not in below.read()


@pytest.mark.parametrize("text", ["", "no url", "http://[::1", "a:b@c"])
def test_what_is_no_url_has_no_secrets_of_one(text: str) -> None:
    """Settings hold all kinds of texts."""
    assert [] == [*url_secrets(text)]
