"""Archives from https URLs."""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO
from urllib.parse import urlsplit

from opsflow.clock import Clock
from opsflow.errors import SourceError
from opsflow.model.source import Source
from opsflow.providers.sources.archive import copy_stream
from opsflow.providers.sources.limits import Limits
from opsflow.providers.sources.tree import shown

SILENCE = 30.0
"""Seconds without a byte before a server is given up."""
PIECE = 64 * 1024


def download(source: Source, copy: IO[bytes], limits: Limits, clock: Clock) -> str:
    """Copy what the URL gives; returns its SHA-256.

    Raises:
        SourceError: not https, not there, too large, too slow.
    """
    request = urllib.request.Request(_checked(source.location), headers={"User-Agent": "opsflow"})  # noqa: S310
    if source.username or source.password:
        # Not sent to where a redirect leads.
        request.add_unredirected_header("Authorization", _basic(source))
    opener = urllib.request.build_opener(_OnlyHttps)
    try:
        with opener.open(request, timeout=SILENCE) as response:
            return copy_stream(_pieces(response, limits, clock), copy, limits)
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceError(f"{_plain(source.location)}: the server answered {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise SourceError(f"{_plain(source.location)} cannot be fetched: {reason}") from error


def _pieces(response: IO[bytes], limits: Limits, clock: Clock) -> Iterator[bytes]:
    deadline = clock.monotonic() + limits.seconds
    while piece := response.read(PIECE):
        if clock.monotonic() > deadline:
            raise SourceError(f"the download took longer than {limits.seconds:g} s and was ended")
        yield piece


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SourceError(f"{shown(url)} is not a URL: {error}") from error
    if parts.scheme != "https" or not host:
        raise SourceError(f"{_plain(url)}: an archive comes from a path or an https:// URL")
    if "@" in parts.netloc:
        raise SourceError("credentials do not belong into the URL; use the fields 'username' and 'password'")
    if any(not char.isprintable() or char.isspace() for char in url):
        raise SourceError(f"{shown(url)} is not a URL: it has spaces or control characters")
    return url


def _plain(url: str) -> str:
    """A URL without user, query and fragment, which may hold secrets."""
    parts = urlsplit(url)
    return shown(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def _basic(source: Source) -> str:
    password = source.password.get_secret_value() if source.password else ""
    return "Basic " + base64.b64encode(f"{source.username or ''}:{password}".encode()).decode()


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only."""

    max_redirections = 5

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            fp.close()
            raise SourceError(f"{_plain(req.full_url)} redirects to {_plain(newurl)}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
