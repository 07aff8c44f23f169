"""How a host is reached: its place, the private key for it, and the host keys that it may show."""

from __future__ import annotations

from pathlib import Path

from opsflow.errors import ProviderError
from opsflow.model.compute import Ssh
from opsflow.providers.compute.static.handshake import host_key
from opsflow.providers.compute.static.inventory import Host
from opsflow.providers.compute.static.known_hosts import known_as, lookup, remember


class Access:
    """What the inventory says of a host, completed by the stack's settings.

    A host that is in use is told as well as it can be; only :meth:`first_use` refuses one.
    """

    def __init__(self, folder: Path, ssh: Ssh, project: Path, seen: Path) -> None:
        """``folder`` is the inventory's; keys of a first use are recorded in ``seen``."""
        self._folder = folder
        self._ssh = ssh
        self._project = project
        self._seen = seen

    def place(self, host: Host) -> tuple[str, int]:
        """Address and port."""
        return host.address, host.port or self._ssh.port

    def user(self, host: Host) -> str:
        """The user to log in as."""
        return host.user or self._ssh.user

    def key_file(self, host: Host) -> str | None:
        """The private key, there or not; None leaves it to the user's agent and usual keys."""
        key = host.key or (self._found(self._ssh.key) if self._ssh.key else None)
        return str(key) if key else None

    def host_keys(self, host: Host) -> tuple[str, ...]:
        """The host keys that are known; none when a file with them cannot be read."""
        try:
            return self._known(host)
        except ProviderError:
            return ()

    def first_use(self, host: Host) -> None:
        """Make sure that the host can be reached and trusted; records its key where the first use is trusted.

        Raises:
            ProviderError: its private key is not there, or its host key is not known.
        """
        if self._ssh.key and not host.key:
            self._require(self._ssh.key, "key")
        if self._ssh.known_hosts and not (host.known_hosts or host.host_keys):
            self._require(self._ssh.known_hosts, "known_hosts")
        if host.key and not host.key.is_file():
            raise ProviderError(f"host '{host.name}': there is no private key {host.key}")
        if self._known(host):
            return
        if not self._accepts_new(host):
            raise ProviderError(f"host '{host.name}': its host key is not known", hint=self._advice(*self.place(host)))
        self._remember(host)

    def at_new_place(self, host: Host) -> None:
        """Record the key that a host shows at its new place, where the first use is trusted and none is known.

        Raises:
            ProviderError: it does not answer there.
        """
        if self._accepts_new(host) and not self.host_keys(host):
            self._remember(host)

    # ------------------------------------------------------------------------------------------ inside

    def _accepts_new(self, host: Host) -> bool:
        return (host.policy or self._ssh.host_keys) == "accept-new"

    def _remember(self, host: Host) -> None:
        address, port = self.place(host)
        remember(self._seen, address, port, host_key(address, port))

    def _known(self, host: Host) -> tuple[str, ...]:
        """From the inventory, else a known_hosts file, else what was seen at the first use."""
        if host.host_keys:
            return host.host_keys
        chosen = host.known_hosts or (self._found(self._ssh.known_hosts) if self._ssh.known_hosts else None)
        usual = (self._folder / "known_hosts", Path("~/.ssh/known_hosts").expanduser())
        return lookup((*((chosen,) if chosen else usual), self._seen), *self.place(host))

    def _places(self, text: str) -> list[Path]:
        path = Path(text).expanduser()
        return list(dict.fromkeys(base / path for base in (self._project / "stacks", self._project)))

    def _found(self, text: str) -> Path:
        """The first place with such a file, else the last one."""
        places = self._places(text)
        return next((place for place in places if place.exists()), places[-1])

    def _require(self, text: str, what: str) -> None:
        if self._found(text).exists():
            return
        places = [str(place) for place in self._places(text)]
        none = f"there is no {places[0]}" if len(places) == 1 else f"there is neither {' nor '.join(places)}"
        raise ProviderError(f"compute/ssh/{what}: {none}")

    def _advice(self, address: str, port: int) -> str:
        number = "" if port == 22 else f"-p {port} "
        return (
            f"Add it: ssh-keyscan {number}{address} >> {self._folder / 'known_hosts'} (then compare the fingerprint), "
            f"or write host_key: in the inventory, or trust the first connection: "
            f"compute: {{ssh: {{host_keys: accept-new}}}}. ({known_as(address, port)} is how it is looked up.)"
        )
