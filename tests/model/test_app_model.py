"""Apps, their sources and environments."""

from __future__ import annotations

from typing import Any

import pytest

from opsflow.model.app import App, DataSource, SslConfiguration
from opsflow.model.source import Source

SHA = "0" * 64


def app(**fields: Any) -> App:
    return App.model_validate({"layers": ["app"], "source": {"git": "./x"}, **fields})


@pytest.mark.parametrize(
    ("fields", "kind", "location"),
    [
        ({"directory": "./shop"}, "directory", "./shop"),
        ({"directory": "/srv/shop"}, "directory", "/srv/shop"),
        ({"git": "../shop"}, "git", "../shop"),
        ({"git": "https://git.example.com/shop.git", "revision": "v1.2"}, "git", "https://git.example.com/shop.git"),
        ({"git": "git@example.com:me/shop.git", "revision": "feature/x"}, "git", "git@example.com:me/shop.git"),
        ({"git": "ssh://git@example.com:2222/shop", "ssh_key": "x"}, "git", "ssh://git@example.com:2222/shop"),
        ({"archive": "./shop.tar.gz"}, "archive", "./shop.tar.gz"),
        ({"archive": "https://example.com/shop.zip", "sha256": SHA}, "archive", "https://example.com/shop.zip"),
        ({"s3": "s3://bucket/shop.tgz", "sha256": SHA}, "s3", "s3://bucket/shop.tgz"),
        ({"git": "./x", "subdirectory": "web/app"}, "git", "./x"),
    ],
)
def test_sources(fields: dict[str, str], kind: str, location: str) -> None:
    source = Source.model_validate(fields)
    assert (source.kind, source.location) == (kind, location)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "exactly one of directory, git, archive, s3; none given"),
        ({"git": "x", "archive": "y"}, "git and archive given"),
        ({"git": ""}, "is empty"),
        ({"git": "--upload-pack=touch /tmp/x"}, "starts with '-'"),
        ({"directory": "-rf"}, "starts with '-'"),
        ({"git": "ext::sh -c touch% /tmp/x"}, "not supported"),
        ({"git": "fd::7"}, "not supported"),
        ({"git": "ftp://example.com/x"}, "not supported"),
        ({"archive": "file:///etc/passwd", "sha256": SHA}, "not supported"),
        ({"archive": "gopher://x/y", "sha256": SHA}, "not supported"),
        ({"s3": "bucket/key"}, "not supported"),
        ({"directory": "https://example.com"}, "not supported"),
        ({"git": "./a\nb"}, "control character"),
        ({"directory": "./x", "revision": "main"}, "revision belongs to a git source"),
        ({"git": "x", "sha256": SHA}, "sha256 belongs to an archive"),
        ({"archive": "https://example.com/x.tgz"}, "needs sha256"),
        ({"archive": "x", "sha256": "A" * 64}, "pattern"),
        ({"git": "x", "subdirectory": "../y"}, "stays inside"),
        ({"git": "x", "subdirectory": "/y"}, "stays inside"),
    ],
)
def test_wrong_sources(fields: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Source.model_validate(fields)


@pytest.mark.parametrize("revision", ["main", "v1.2.3", "0a1b2c3", "feature/login", "release-1_2+x"])
def test_revisions(revision: str) -> None:
    assert Source(git="x", revision=revision).revision == revision


@pytest.mark.parametrize(
    "revision",
    ["", "-x", "--all", "a..b", "@{-1}", "a@{1}", "a b", "a\0", "a\n", "main:x", "~1", "a^", "x.lock", "x" * 300],
)
def test_wrong_revisions(revision: str) -> None:
    with pytest.raises(ValueError, match="not a branch, tag or commit id"):
        Source(git="x", revision=revision)


def test_environment_values_may_be_short() -> None:
    found = app(environment={"A": "x", "B": 1, "C": 1.5, "D": {"value": "s", "secure": True}, "E": ""}).environment
    assert {key: entry.value.get_secret_value() for key, entry in found.items()} == {
        "A": "x", "B": "1", "C": "1.5", "D": "s", "E": "",
    }  # fmt: skip
    assert [key for key, entry in found.items() if entry.secure] == ["D"]


@pytest.mark.parametrize("key", ["", "1A", "A-B", "A B", "A=B", "\u00c4", "A" * 65, "A\n"])
def test_environment_keys(key: str) -> None:
    with pytest.raises(ValueError, match="environment variable"):
        app(environment={key: "x"})


@pytest.mark.parametrize("value", [True, None, "a\0b", "a\x1bb", ["x"], {"secure": True}])
def test_environment_values(value: object) -> None:
    with pytest.raises(ValueError, match="environment"):
        app(environment={"A": value})


def test_the_whole_environment_has_at_most_20_kilobytes() -> None:
    app(environment={"A": "x" * (20 * 1024 - 1)})
    with pytest.raises(ValueError, match="too large"):
        app(environment={"A": "x" * 20 * 1024})


def test_secrets_are_in_no_text() -> None:
    shop = app(
        source={"git": "x", "password": "sesame-1", "ssh_key": "sesame-2"},
        environment={"A": {"value": "sesame-3", "secure": True}},
        ssl_configuration={"certificate": "-----BEGIN CERTIFICATE-----", "private_key": "-----BEGIN sesame-4"},
    )
    for text in (repr(shop), str(shop), shop.model_dump_json()):
        assert "sesame" not in text


def test_ssl() -> None:
    with pytest.raises(ValueError, match="enable_ssl needs ssl_configuration"):
        app(enable_ssl=True)
    with pytest.raises(ValueError, match="should be PEM"):
        SslConfiguration(certificate="MIIB", private_key="-----BEGIN PRIVATE KEY-----")


def test_data_sources() -> None:
    with pytest.raises(ValueError, match="needs its arn"):
        DataSource(type="RdsDbInstance")


@pytest.mark.parametrize("domain", ["shop.example.com", "*.example.com", "xn--bcher-kva.example", "localhost"])
def test_domains(domain: str) -> None:
    assert app(domains=[domain]).domains == (domain,)


@pytest.mark.parametrize(
    "domain", ["", "a b", "b\u00fccher.example", "x;y", "-x", "a/b", "x" * 300, "a\r\nb", "<script>"]
)
def test_wrong_domains(domain: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        app(domains=[domain])


@pytest.mark.parametrize("path", ["srv", "/srv/../etc", "/", "", "/srv www", "/srv/$HOME", "/srv\n"])
def test_wrong_deploy_directories(path: str) -> None:
    with pytest.raises(ValueError, match="not an absolute path"):
        app(deploy_to=path)
