"""What recipes saw of the other instances, in pages that many nodes share.

Every node has every instance of its stack. Written with each node, a run on many hosts would write their square; so a
node names pages of members, and a page is written once, under the digest of its bytes.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from opsflow.model.base import Model
from opsflow.model.snapshot import MemberSnapshot, NodeSnapshot
from opsflow.redact import Redactor
from opsflow.store.records import damaged, decode, encode, masked

LENGTH = 32
"""Members on a page: when one instance changes, one page does."""


class Members(Model):
    """The content of a page."""

    members: tuple[MemberSnapshot, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Members as they are stored."""

    digest: str
    body: bytes


@dataclass(frozen=True, slots=True)
class _Made:
    """A page and what it was made from."""

    members: tuple[MemberSnapshot, ...]
    secrets: tuple[str, ...]
    page: Page

    def still(self, members: tuple[MemberSnapshot, ...], secrets: tuple[str, ...]) -> bool:
        """Whether it would be the same page again; the nodes of one moment share their members."""
        same = len(members) == len(self.members) and all(a is b for a, b in zip(members, self.members, strict=True))
        return same and secrets == self.secrets


class Pages:
    """Makes the pages of nodes; those of the node before are kept, because most are needed again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[int, _Made] = {}
        self._written: set[str] = set()

    def of(self, node: NodeSnapshot) -> tuple[Page, ...]:
        """The pages of a node's members, with its secrets masked."""
        with self._lock:
            return tuple(self._page(start, node) for start in range(0, len(node.members), LENGTH))

    def _page(self, start: int, node: NodeSnapshot) -> Page:
        members = node.members[start : start + LENGTH]
        made = self._made.get(start)
        if made is None or not made.still(members, node.secrets):
            made = self._made[start] = _Made(members, node.secrets, _encoded(members, Redactor(node.secrets)))
        return made.page

    def unwritten(self, pages: Iterable[Page]) -> tuple[Page, ...]:
        """Those that may not be in the store yet, each once."""
        return tuple({page.digest: page for page in pages if page.digest not in self._written}.values())

    def wrote(self, pages: Iterable[Page]) -> None:
        """These are durable now."""
        self._written.update(page.digest for page in pages)


def _encoded(members: Sequence[MemberSnapshot], redact: Redactor) -> Page:
    kept = tuple(member.model_copy(update={"data": masked(member.data, redact)}) for member in members)
    body = zlib.compress(encode(Members(members=kept), "what a node knows of other instances").encode(), level=6)
    return Page(hashlib.sha256(body).hexdigest(), body)


def unpaged(page: Page) -> tuple[MemberSnapshot, ...]:
    """The members on a page.

    Raises:
        StoreError: it is not what was written.
    """
    what = f"page {page.digest[:12]} of the members of nodes"
    if hashlib.sha256(page.body).hexdigest() != page.digest:
        raise damaged(what, "its digest does not match")
    return decode(Members, zlib.decompress(page.body), what).members


def joined(node: NodeSnapshot, pages: Iterable[Page]) -> NodeSnapshot:
    """A stored node with the members of its pages."""

    def everyone() -> Iterator[MemberSnapshot]:
        yield from node.members
        for page in pages:
            yield from unpaged(page)

    return node.model_copy(update={"members": tuple(everyone())})
