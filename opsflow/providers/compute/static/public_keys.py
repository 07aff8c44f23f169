"""Public keys as known_hosts files write them.

Read here and not with paramiko: most of what the program does needs the keys of machines, and no handshake in its own
process, for which paramiko and what it stands on would be loaded.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence

_POINTS = {"nistp256": 65, "nistp384": 97, "nistp521": 133}
"""Bytes of a point of each curve, uncompressed as OpenSSH has them."""


def public_key(kind: str, data: str) -> str | None:
    """``kind data`` in the one way to write it; None when it is damaged, or of a kind that no machine is told by."""
    try:
        raw = base64.b64decode(data, validate=True)
    except ValueError:
        return None
    name, *numbers = _strings(raw) or (b"",)
    if kind not in _WHOLE or name != kind.encode() or not _WHOLE[kind](numbers):
        return None
    return f"{kind} {base64.b64encode(raw).decode()}"


def _strings(raw: bytes) -> list[bytes] | None:
    """What is in it, each part with its length in front; None when it does not end with one (RFC 4251, section 5)."""
    found = []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "big")
        if len(raw) < max(4, end):
            return None
        found.append(raw[4:end])
        raw = raw[end:]
    return found


def _rsa(numbers: Sequence[bytes]) -> bool:
    """Exponent and modulus, both odd and not negative."""
    return len(numbers) == 2 and all(number and number[0] < 0x80 and number[-1] & 1 for number in numbers)


def _ed25519(numbers: Sequence[bytes]) -> bool:
    return [len(number) for number in numbers] == [32]


def _on(curve: str) -> Callable[[Sequence[bytes]], bool]:
    def whole(numbers: Sequence[bytes]) -> bool:
        return (
            len(numbers) == 2
            and numbers[0] == curve.encode()
            and len(numbers[1]) == _POINTS[curve]
            and numbers[1][0] == 4
        )

    return whole


_WHOLE: Mapping[str, Callable[[Sequence[bytes]], bool]] = {
    "ssh-rsa": _rsa,
    "ssh-ed25519": _ed25519,
    **{f"ecdsa-sha2-{curve}": _on(curve) for curve in _POINTS},
}
"""The kinds of keys that the engine checks, and whether the numbers of one can be a key."""
