"""Static machines: who has which host, and how their keys become known."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from paramiko import PKey
from paramiko.hostkeys import HostKeys

from opsflow.clock import ManualClock
from opsflow.errors import ConfigError, ProviderError
from opsflow.model.compute import Ssh
from opsflow.model.machine import Machine, MachineRequest, MachineState
from opsflow.providers.compute.static import StaticProvider
from opsflow.providers.compute.static.handshake import host_key
from opsflow.providers.compute.static.known_hosts import lookup, remember


def public_key(number: int) -> str:
    parts = (b"ssh-ed25519", bytes([number]) * 32)
    wire = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return f"ssh-ed25519 {base64.b64encode(wire).decode()}"


KEY, OTHER = public_key(1), public_key(2)


class World:
    """A project with an inventory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = ManualClock()
        (root / "inventory").mkdir()
        (root / "stacks").mkdir()
        self.inventory = root / "inventory/hosts.yml"

    def hosts(self, text: str) -> None:
        self.inventory.write_text(text)

    def provider(self, **ssh: object) -> StaticProvider:
        return StaticProvider(self.inventory, Ssh.model_validate(ssh), self.clock, self.root / ".opsflow")

    def create(self, provider: StaticProvider, instance: str, host: str | None = None, stack: str = "shop") -> Machine:
        return provider.create(
            MachineRequest(token=f"token-{stack}-{instance}", stack=stack, instance=instance, host=host)
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return World(tmp_path)


def test_an_instance_gets_the_host_of_its_name_or_the_one_it_asks_for(world: World) -> None:
    world.hosts(f"defaults: {{host_key: {KEY}}}\nhosts: {{web1: {{address: 192.0.2.1, rack: a}}, box7: {{port: 22}}}}")
    provider = world.provider(user="admin", port=2222)
    web1 = world.create(provider, "web1")
    assert web1 == Machine(
        id="web1",
        token="token-shop-web1",
        state=MachineState.RUNNING,
        address="192.0.2.1",
        port=2222,
        private_address="192.0.2.1",
        user="admin",
        host_keys=(KEY,),
        data={"host": "web1", "groups": [], "variables": {"rack": "a"}},
    )
    assert world.create(provider, "web2", host="box7").port == 22
    with pytest.raises(ProviderError, match="there is no host 'web3'"):
        world.create(provider, "web3")


def test_a_host_belongs_to_one_instance_until_it_is_given_back(world: World) -> None:
    world.hosts(f"defaults: {{host_key: {KEY}}}\nhosts: {{web1: {{}}, alias: {{address: web1}}}}")
    provider = world.provider()
    machine = world.create(provider, "web1")
    with pytest.raises(ProviderError, match="already is instance 'web1' of stack 'shop'"):
        world.create(provider, "web1", stack="other")
    with pytest.raises(ProviderError, match="as 'web1', the same address"):
        world.create(provider, "alias")
    provider.terminate(machine)
    assert world.create(provider, "web1", stack="other").id == "web1"


def test_a_broken_record_is_named(world: World) -> None:
    world.hosts(f"defaults: {{host_key: {KEY}}}\nhosts: {{web1: {{}}}}")
    provider = world.provider()
    machine = world.create(provider, "web1")
    record = world.root / f".opsflow/static/{machine.token}.json"
    assert record.stat().st_mode & 0o777 == 0o600
    record.write_text("{")
    with pytest.raises(ProviderError, match="damaged"):
        provider.find(machine.token)


def test_a_changed_inventory_is_noticed_and_a_lost_host_is_remembered(world: World) -> None:
    world.hosts(f"hosts: {{web1: {{address: 192.0.2.1, host_key: {KEY}}}}}")
    provider = world.provider()
    machine = world.create(provider, "web1")
    world.hosts(f"hosts: {{web1: {{address: 192.0.2.99, host_key: {KEY}}}}}")
    found = provider.find(machine.token)
    assert found is not None
    assert found.address == "192.0.2.99"
    world.hosts("hosts: {}")
    found = provider.find(machine.token)
    assert found is not None
    assert found.address == "192.0.2.1"


def test_check_reads_the_inventory(world: World) -> None:
    with pytest.raises(ConfigError, match="there is no such inventory"):
        world.provider().check()
    world.hosts("hosts: {}")
    world.provider().check()


def test_keys_are_looked_for_beside_the_stacks_and_in_the_project(world: World) -> None:
    world.hosts(f"hosts: {{web1: {{host_key: {KEY}}}, web2: {{host_key: {KEY}, key: own}}}}")
    with pytest.raises(ProviderError, match="compute/ssh/key: there is neither"):
        world.create(world.provider(key="keys/id"), "web1")
    (world.root / "keys").mkdir()
    (world.root / "keys/id").write_text("")
    assert world.create(world.provider(key="keys/id"), "web1").key_file == str(world.root / "keys/id")
    with pytest.raises(ProviderError, match=r"there is no private key .*/inventory/own"):
        world.create(world.provider(key="keys/id"), "web2")


@pytest.mark.parametrize(
    ("entry", "ssh"),
    [
        ("{address: 192.0.2.1, key: gone, host_key: KEY}", {}),
        ("{address: 192.0.2.1, host_key: KEY}", {"key": "keys/gone"}),
        ("{address: 192.0.2.1}", {}),
        ("{address: 192.0.2.1}", {"known_hosts": "gone"}),
        ("{address: 192.0.2.1, known_hosts: folder}", {}),
    ],
)
def test_a_host_whose_entry_became_wrong_does_not_hide_the_others(world: World, entry: str, ssh: object) -> None:
    world.hosts(f"defaults: {{host_key: {KEY}}}\nhosts: {{web1: {{}}, web2: {{}}}}")
    first, second = (world.create(world.provider(), name) for name in ("web1", "web2"))
    (world.root / "inventory/folder").mkdir()
    world.hosts(f"hosts: {{web1: {entry.replace('KEY', KEY)}, web2: {{host_key: {KEY}}}}}")
    provider = StaticProvider(world.inventory, Ssh.model_validate(ssh), world.clock, world.root / ".opsflow")
    assert [machine.id for machine in provider.list("shop")] == ["web1", "web2"]
    found = provider.find(first.token)
    assert found is not None
    assert found.address == "192.0.2.1"
    assert provider.stop(found).state is MachineState.STOPPED
    assert provider.start(found).state is MachineState.RUNNING
    for machine in (first, second):
        provider.terminate(machine)
    assert list(provider.list("shop")) == []


def test_a_missing_key_keeps_its_name_so_that_the_engine_can_say_which(world: World) -> None:
    world.hosts(f"hosts: {{web1: {{host_key: {KEY}, key: own}}, web2: {{host_key: {KEY}}}}}")
    for key in (world.root / "inventory/own", world.root / "shared"):
        key.write_text("")
    made = [world.create(world.provider(key="shared"), name) for name in ("web1", "web2")]
    for key in (world.root / "inventory/own", world.root / "shared"):
        key.unlink()
    assert [machine.key_file for machine in world.provider(key="shared").list("shop")] == [
        machine.key_file for machine in made
    ]


# ------------------------------------------------------------------------------------------------ host keys


def test_an_unknown_key_is_refused_with_the_line_that_helps(world: World) -> None:
    world.hosts("hosts: {web1: {address: 192.0.2.1, port: 2222}}")
    with pytest.raises(ProviderError, match="its host key is not known") as refused:
        world.create(world.provider(), "web1")
    assert refused.value.hint is not None
    assert f"ssh-keyscan -p 2222 192.0.2.1 >> {world.root}/inventory/known_hosts" in refused.value.hint
    assert "accept-new" in refused.value.hint
    assert list(world.provider().list("shop")) == []


def test_the_order_of_known_hosts_files(world: World) -> None:
    world.hosts("hosts: {web1: {}}")
    home = world.root / "home/.ssh"
    home.mkdir(parents=True)
    (home / "known_hosts").write_text(f"web1 {public_key(3)}\n")
    assert world.create(world.provider(), "web1").host_keys == (public_key(3),)
    (world.root / "inventory/known_hosts").write_text(f"web1 {OTHER}\n")
    assert world.create(world.provider(), "web1").host_keys == (OTHER,)
    (world.root / "stacks/hosts").write_text(f"web1 {KEY}\n")
    assert world.create(world.provider(known_hosts="hosts"), "web1").host_keys == (KEY,)
    with pytest.raises(ProviderError, match="compute/ssh/known_hosts: there is neither"):
        world.create(world.provider(known_hosts="nowhere"), "web1")
    world.hosts(f"hosts: {{web1: {{host_key: {OTHER}}}}}")
    assert world.create(world.provider(known_hosts="nowhere"), "web1").host_keys == (OTHER,)


class Sshd(threading.Thread):
    """Just enough of a server to show a host key."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.key = paramiko.ECDSAKey.generate()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.asked = 0

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.asked += 1
            with connection, paramiko.Transport(connection) as transport:
                transport.add_server_key(self.key)
                try:
                    transport.start_server(server=paramiko.ServerInterface())
                    transport.join(5)
                except (paramiko.SSHException, EOFError, OSError):
                    continue  # a client leaves when it has seen the key, and may reset the connection

    @property
    def public(self) -> str:
        return f"{self.key.get_name()} {self.key.get_base64()}"


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    server = Sshd()
    server.start()
    yield server
    server.socket.shutdown(socket.SHUT_RDWR)
    server.socket.close()
    server.join(10)


def test_accept_new_records_the_first_key_and_never_asks_again(world: World, sshd: Sshd) -> None:
    world.hosts(f"hosts: {{web1: {{address: 127.0.0.1, port: {sshd.port}}}}}")
    provider = world.provider(host_keys="accept-new")
    machine = world.create(provider, "web1")
    assert machine.host_keys == (sshd.public,)
    recorded = world.root / ".opsflow/known_hosts"
    assert recorded.read_text() == f"[127.0.0.1]:{sshd.port} {sshd.public}\n"
    assert recorded.stat().st_mode & 0o777 == 0o600
    first, sshd.key = sshd.public, paramiko.ECDSAKey.generate()
    provider.terminate(machine)
    assert world.create(world.provider(host_keys="accept-new"), "web1").host_keys == (first,)
    assert sshd.asked == 1


def test_a_single_host_may_be_trusted_at_first_use(world: World, sshd: Sshd) -> None:
    world.hosts(f"hosts: {{web1: {{address: 127.0.0.1, port: {sshd.port}, host_keys: accept-new}}}}")
    assert world.create(world.provider(), "web1").host_keys == (sshd.public,)


def test_a_host_that_is_started_at_a_new_place_is_used_there_for_the_first_time(world: World, sshd: Sshd) -> None:
    world.hosts(f"hosts: {{web1: {{address: 192.0.2.1, host_key: {KEY}}}}}")
    provider = world.provider(host_keys="accept-new")
    machine = world.create(provider, "web1")
    text = f"hosts: {{web1: {{address: 127.0.0.1, port: {sshd.port}}}, old: {{address: 192.0.2.1, host_key: {KEY}}}}}"
    world.hosts(text)
    found = provider.find(machine.token)
    assert found is not None
    assert found.host_keys == ()
    assert provider.start(found).host_keys == (sshd.public,)
    assert world.create(provider, "old").address == "192.0.2.1"


def test_a_machine_that_does_not_answer_cannot_show_a_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ProviderError, match=rf"\[127.0.0.1\]:{port}: its host key cannot be read"):
        host_key("127.0.0.1", port)


def test_a_server_that_is_no_sshd_cannot_show_a_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail ready\r\n" * 200)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ProviderError, match="its host key cannot be read"):
            host_key("127.0.0.1", server.getsockname()[1])
        thread.join(10)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"web1 {KEY}", True),
        (f"other,web1 {KEY} a comment", True),
        (f"WEB1 {KEY}", True),
        (f"web? {KEY}", True),
        (f"*,!web1 {KEY}", False),
        (f"{HostKeys.hash_host('web1')} {KEY}", True),
        (f"{HostKeys.hash_host('web2')} {KEY}", False),
        (f"[web1]:2222 {KEY}", False),
        (f"@cert-authority web1 {KEY}", False),
        (f"@revoked web1 {KEY}\nweb1 {KEY}", False),
        ("web1 ssh-ed25519 notbase64!", False),
        ("web1", False),
        (f"# web1 {KEY}", False),
        (f"web1\t{KEY.replace(' ', '  ')}", True),
        (f"@revoked\tweb1 {KEY}\nweb1 {KEY}", False),
        (f"|1|c2FsdA==|bm90aGluZw== {KEY}", False),
        (f"|1|half {KEY}", False),
        (f"|2|c2FsdA==|bm90aGluZw== {KEY}", False),
        (f"web1 {KEY}Zürich", False),
    ],
)
def test_known_hosts_lines(tmp_path: Path, line: str, found: bool) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"\n{line}\n")
    assert lookup([tmp_path / "missing", file], "web1", 22) == ((KEY,) if found else ())


@pytest.mark.parametrize(
    "kind", ["ssh-rsa", "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"]
)
def test_known_hosts_keys(tmp_path: Path, kind: str) -> None:
    """Every kind that a machine may show, as paramiko reads it; what is cut or renamed is no key."""
    file = tmp_path / "known_hosts"
    made = generated(kind)
    assert PKey.from_type_string(kind, base64.b64decode(made)).get_base64() == made

    file.write_text(f"web1 {kind} {made} a comment\n")
    assert lookup([file], "web1", 22) == (f"{kind} {made}",)
    whole = base64.b64decode(made)
    other = "ssh-ed25519" if kind == "ssh-rsa" else "ssh-rsa"
    damaged = [*(whole[:length] for length in range(len(whole))), whole + b"\0", whole + whole]
    lines = [f"web1 {kind} {base64.b64encode(one).decode()}" for one in damaged]
    file.write_text("\n".join([*lines, f"web1 {other} {made}", f"web1 sk-{kind} {made}", f"web1 {kind} {made[:-1]}!"]))
    assert lookup([file], "web1", 22) == ()


def generated(kind: str) -> str:
    """The second field of a new public key."""
    curves = {
        "ecdsa-sha2-nistp256": ec.SECP256R1(),
        "ecdsa-sha2-nistp384": ec.SECP384R1(),
        "ecdsa-sha2-nistp521": ec.SECP521R1(),
    }
    private: Any
    if kind == "ssh-rsa":
        private = rsa.generate_private_key(65537, 2048)
    else:
        private = ec.generate_private_key(curves[kind]) if kind in curves else Ed25519PrivateKey.generate()
    return str(private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1].decode())


def test_known_hosts_names_with_a_port(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    remember(file, "web1", 2222, KEY)
    remember(file, "web1", 2222, OTHER)
    file.write_text(file.read_text() + f"{HostKeys.hash_host('[db1]:2200')} {OTHER}\n")
    assert lookup([file], "web1", 2222) == (KEY, OTHER)
    assert lookup([file], "web1", 22) == ()
    assert lookup([file], "db1", 2200) == (OTHER,)


def test_a_known_hosts_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="cannot be read"):
        lookup([tmp_path], "web1", 22)
