"""Key pairs in OpenSSH's format, made without starting ssh-keygen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from opsflow.clock import Clock
from opsflow.providers.compute.files import write_atomic
from opsflow.providers.compute.locks import locked


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An ed25519 key pair: the private file's text and the one-line public key."""

    private: str = field(repr=False)
    public: str

    @classmethod
    def generate(cls) -> KeyPair:
        """A new pair."""
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return cls(private=private.decode(), public=public.decode())


class ProjectKey:
    """The key pair that opens every sandbox of a project; made at first use."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.file = directory / "key"
        self._clock = clock

    def pair(self) -> KeyPair:
        """The pair, the same one for ever."""
        public = self.file.with_name("key.pub")
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.file.with_name("key.lock"), self._clock):
            if not self.file.exists():
                made = KeyPair.generate()
                write_atomic(public, f"{made.public}\n", mode=0o644)
                write_atomic(self.file, made.private)
            return KeyPair(private=self.file.read_text(), public=public.read_text().strip())
