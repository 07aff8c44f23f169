"""Secrets are found however they are written."""

from __future__ import annotations

import base64
import html
import json
import shlex
import threading
import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opsflow.redact import MASK, SHORTEST, Redactor

SECRET = "p@ss/w0rd+\"x'& y$z\\é"
PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    + "\n".join(f"{n}MIIEvQIBADANBgkqhkiG9w0BAQ{n}" for n in range(5))
    + "\n-----END-----\n"
)
secrets = st.text(min_size=SHORTEST, max_size=30).filter(lambda text: len(text.strip()) >= SHORTEST)


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote(SECRET, safe="").lower(),
        urllib.parse.urlencode({"a": SECRET})[2:],
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        json.dumps(SECRET).replace("/", "\\/")[1:-1],
        repr(SECRET)[1:-1],
        shlex.quote(SECRET),
        SECRET.replace("'", "'\\''"),
        html.escape(SECRET),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
    ],
)
def test_quoted_forms(written: str) -> None:
    masked = Redactor([SECRET]).text(f"before {written} after")
    assert written not in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert MASK in masked
    assert "w0rd" not in masked


@given(secrets, st.binary(max_size=5), st.binary(max_size=5))
@example("hunter2-hunter2", b"user:", b"")
def test_base64_at_any_offset_of_a_longer_text(secret: str, before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    masked = Redactor([secret]).text(f"Authorization: Basic {encoded}")
    assert MASK in masked
    rest = masked.removeprefix("Authorization: Basic ").replace(MASK, "")
    # What is left is at most what belongs to the neighbours, and one character at each end.
    assert len(rest) <= len(base64.b64encode(before)) + len(base64.b64encode(after)) + 4


@given(secrets)
def test_base64_for_urls(secret: str) -> None:
    encoded = base64.urlsafe_b64encode(secret.encode()).decode()
    assert encoded.rstrip("=") not in Redactor([secret]).text(encoded)


@given(secrets, st.text(max_size=10), st.text(max_size=10))
def test_the_secret_itself_is_gone(secret: str, before: str, after: str) -> None:
    redactor = Redactor([secret])
    for masked in (
        redactor.text(before + secret + after),
        redactor.bytes((before + secret + after).encode()).decode(),
    ):
        assert MASK in masked
        assert secret not in masked.replace(MASK, "\0")


# However an ASCII secret is written, it stays ASCII: other characters are surely none of it.
ascii_secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=SHORTEST, max_size=30)
other_text = st.text(st.characters(min_codepoint=0xA1, exclude_categories=["Cs"]), max_size=20)


@given(ascii_secrets, other_text, other_text)
def test_other_text_stays_as_it_is(secret: str, before: str, after: str) -> None:
    redactor = Redactor([secret])
    assert redactor.text(before + after) == before + after
    assert redactor.text(before + secret + after) == before + MASK + after
    assert redactor.bytes((before + secret + after).encode()) == (before + MASK + after).encode()


def test_plain_output_is_untouched() -> None:
    text = "ok: [web1] Install nginx (changed) -----BEGIN PRIVATE KEY-----\n"
    assert Redactor([SECRET, PEM]).text(text) == text


@pytest.mark.parametrize("short", ["", "a", "true", "12345", "     ", "\n\n\n\n\n\n\n"])
def test_short_secrets_would_wreck_the_output(short: str) -> None:
    text = f"a true 12345 {short} value"
    assert Redactor([short]).text(text) == text


class TestSeveralLines:
    def test_each_line_is_a_secret(self) -> None:
        redactor = Redactor([PEM])
        for line in PEM.splitlines()[1:-1]:
            assert redactor.text(f"+ {line}\r\n") == f"+ {MASK}\r\n"

    def test_as_a_whole(self) -> None:
        assert Redactor([PEM]).text(f"key={PEM}") == f"key={MASK}"
        assert Redactor([PEM]).text(f"key={PEM.strip()};") == f"key={MASK};"

    def test_as_json(self) -> None:
        assert "MIIE" not in Redactor([PEM]).text(json.dumps({"key": PEM}))

    @pytest.mark.parametrize("width", [64, 76])
    def test_in_base64_with_line_breaks(self, width: int) -> None:
        plain = base64.b64encode(PEM.encode()).decode()
        lines = [plain[at : at + width] for at in range(0, len(plain), width)]
        redactor = Redactor([PEM])
        assert [redactor.text(line) for line in lines[:-1]] == [MASK] * (len(lines) - 1)

    def test_the_frame_of_a_key_is_no_secret(self) -> None:
        assert Redactor([PEM]).text("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


class TestSeveralSecrets:
    def test_that_overlap(self) -> None:
        assert Redactor(["abcdefgh", "fghijklm"]).text("1abcdefghijklm2") == f"1{MASK}2"

    def test_that_contain_each_other(self) -> None:
        for given_order in (["sesame", "open-sesame-now"], ["open-sesame-now", "sesame"]):
            assert Redactor(given_order).text("[open-sesame-now] [sesame]") == f"[{MASK}] [{MASK}]"

    def test_that_repeat(self) -> None:
        assert Redactor(["aaaaaa"]).text("aaaaaaaaa") == MASK
        assert Redactor(["secret1"]).text("secret1secret1") == MASK * 2

    def test_that_look_like_the_mask(self) -> None:
        assert Redactor(["FILTERED", "sesame"]).text("sesame") == MASK

    def test_are_added_later(self) -> None:
        redactor = Redactor()
        assert redactor.text("sesame-street") == "sesame-street"
        assert redactor.longest == 0
        redactor.add("sesame-street", "")
        assert redactor.text("sesame-street") == MASK

    def test_from_several_threads(self) -> None:
        redactor = Redactor()
        threads = [threading.Thread(target=redactor.add, args=(f"secret-{n}",)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert redactor.text(" ".join(f"secret-{n}" for n in range(20))) == " ".join([MASK] * 20)


class TestBytes:
    def test_output_that_is_no_utf8(self) -> None:
        assert Redactor(["sésame-ouvre"]).bytes(b"\xff\x00" + "sésame-ouvre".encode() + b"\xfe") == (
            b"\xff\x00" + MASK.encode() + b"\xfe"
        )

    def test_a_stream_that_keeps_the_longest_form_back_misses_nothing(self) -> None:
        redactor = Redactor([SECRET])
        for written in (SECRET, urllib.parse.quote(SECRET, safe=""), SECRET.encode().hex(), shlex.quote(SECRET)):
            assert len(written.encode()) <= redactor.longest + 2

    def test_a_secret_that_is_no_valid_unicode(self) -> None:
        assert Redactor(["\udcff" * 8]).text("x" + "\udcff" * 8) == f"x{MASK}"
