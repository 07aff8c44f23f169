"""Asking a machine for its host key, for the first-use policy."""

from __future__ import annotations

import socket

from opsflow.absent import absent
from opsflow.errors import ProviderError
from opsflow.providers.compute.static.known_hosts import known_as

CONNECT, HANDSHAKE = 10.0, 15.0
"""Seconds."""


def host_key(address: str, port: int) -> str:
    """The key that the machine shows now; nothing is sent to it but the key exchange.

    Raises:
        ProviderError: it cannot be reached or does not speak SSH.
    """
    # Loaded here only: most inventories know their keys.
    with absent("invoke"):
        from paramiko.ssh_exception import SSHException
        from paramiko.transport import Transport

    where = known_as(address, port)
    try:
        with (
            socket.create_connection((address, port), timeout=CONNECT) as connection,
            Transport(connection) as transport,
        ):
            transport.banner_timeout = HANDSHAKE
            transport.start_client(timeout=HANDSHAKE)
            key = transport.get_remote_server_key()
            return f"{key.get_name()} {key.get_base64()}"
    except (OSError, SSHException, EOFError) as error:
        raise ProviderError(f"{where}: its host key cannot be read: {error or type(error).__name__}") from error
