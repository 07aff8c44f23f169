"""The parts of the sandbox provider that can be tried without making a sandbox."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from paramiko import Ed25519Key

from opsflow.clock import SystemClock
from opsflow.errors import ProviderError
from opsflow.providers.compute import locks
from opsflow.providers.compute.sandbox import addresses, rootfs
from opsflow.providers.compute.sandbox.addresses import AddressBook, Endpoint
from opsflow.providers.compute.sandbox.disk import Disk, locate
from opsflow.providers.compute.sandbox.identity import without_passwords
from opsflow.providers.compute.sandbox.keys import KeyPair, ProjectKey
from opsflow.providers.compute.sandbox.options import Options
from opsflow.providers.compute.sandbox.processes import Process

CLOCK = SystemClock()


def owner(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.write_text("")
    return path


def aged(file: Path, text: str | None = None) -> None:
    """Make a file look two minutes old."""
    if text is not None:
        file.write_text(text)
    then = CLOCK.now().timestamp() - 120
    os.utime(file, (then, then))


# ------------------------------------------------------------------------------------------------ addresses


def test_an_owner_keeps_its_address_and_others_get_others(tmp_path: Path) -> None:
    book = AddressBook(CLOCK, tmp_path / "run/addresses")
    one = book.reserve(owner(tmp_path, "one"))
    assert book.reserve(owner(tmp_path, "one")) == one
    assert AddressBook(CLOCK, tmp_path / "run/addresses").reserve(owner(tmp_path, "two")).address != one.address


def test_addresses_are_given_back_and_those_of_dead_owners_taken(tmp_path: Path) -> None:
    book = AddressBook(CLOCK, tmp_path / "run/addresses")
    # Far from those that sandboxes of this machine come and go with.
    wanted = Endpoint("127.77.210.5", 22)
    one = book.reserve(owner(tmp_path, "one"), wanted)
    assert one.address == wanted.address
    assert book.reserve(owner(tmp_path, "two"), wanted).address != wanted.address
    book.release(tmp_path / "one")
    assert book.reserve(owner(tmp_path, "three"), wanted) == one
    (tmp_path / "three").unlink()
    # Its owner may only be out of our sight, and its machine about to listen.
    assert book.reserve(owner(tmp_path, "four"), wanted).address != wanted.address
    aged(tmp_path / "run/addresses" / one.address)
    assert book.reserve(owner(tmp_path, "five"), wanted) == one
    aged(tmp_path / "run/addresses/127.77.0.9", "half a rec")
    book.reserve(owner(tmp_path, "six"))
    assert not (tmp_path / "run/addresses/127.77.0.9").exists()


def test_a_wanted_address_is_given_when_it_is_free(tmp_path: Path) -> None:
    book = AddressBook(CLOCK, tmp_path / "run/addresses")
    wanted = Endpoint("127.77.200.7", 22)
    assert book.reserve(owner(tmp_path, "one"), wanted).address == wanted.address
    assert book.reserve(owner(tmp_path, "two"), wanted).address != wanted.address


def test_an_address_with_any_listener_is_left_alone(tmp_path: Path) -> None:
    book = AddressBook(CLOCK, tmp_path / "run/addresses")
    with socket.create_server(("127.77.201.8", 0)):
        assert book.reserve(owner(tmp_path, "one"), Endpoint("127.77.201.8", 22)).address != "127.77.201.8"


def test_another_port_where_this_machines_own_sshd_listens_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        port = everywhere.getsockname()[1]
        monkeypatch.setattr(addresses, "PORTS", (port, 22022))
        assert AddressBook(CLOCK, tmp_path / "run/addresses").reserve(owner(tmp_path, "one")).port == 22022
        monkeypatch.setattr(addresses, "PORTS", (port,))
        with pytest.raises(ProviderError, match="listens on every address"):
            AddressBook(CLOCK, tmp_path / "run/addresses").reserve(owner(tmp_path, "one"))


def test_there_are_only_so_many_sandboxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "LIMIT", 2)
    book = AddressBook(CLOCK, tmp_path / "run/addresses")
    one, _ = book.reserve(owner(tmp_path, "one")), book.reserve(owner(tmp_path, "two"))
    with pytest.raises(ProviderError, match="already has 2 sandboxes"):
        book.reserve(owner(tmp_path, "three"))
    assert book.reserve(owner(tmp_path, "one")) == one


# ------------------------------------------------------------------------------------------------ options


def test_options_are_checked_by_name() -> None:
    assert Options.parse({"root": "images/debian.tar", "memory": "512m"}).memory_bytes == 512 << 20
    with pytest.raises(ProviderError, match="compute/options/rooot.*did you mean 'root'"):
        Options.parse({"rooot": "/"})
    with pytest.raises(ProviderError, match="compute/options/memory"):
        Options.parse({"memory": "lots"})
    with pytest.raises(ProviderError, match="compute/options/processes"):
        Options.parse({"processes": 3})


def test_a_disk_has_a_size_that_makes_sense() -> None:
    assert Options.parse({}).disk_bytes == 4 << 30
    assert Options.parse({"disk": "4G"}).disk_bytes == 4 << 30
    assert Options.parse({"disk": "500m"}).disk_bytes == 500 << 20
    for nonsense in ("63m", "1025g", "big", "0", 5, ""):
        with pytest.raises(ProviderError, match="compute/options/disk"):
            Options.parse({"disk": nonsense})


# ------------------------------------------------------------------------------------------------ identity


def test_no_password_gets_into_a_sandbox_and_root_is_not_locked() -> None:
    shadow = "root:!:20000:0:99999:7:::\nalice:$y$j9T$abc:20000::::::\ndaemon:*:1::::::\nbob:!$6$x:1::::::\n"
    assert without_passwords(shadow).splitlines() == [
        "root:*:20000:0:99999:7:::",
        "alice:*:20000::::::",
        "daemon:*:1::::::",
        "bob:!$6$x:1::::::",
    ]


def test_keys_are_what_openssh_and_paramiko_read(tmp_path: Path) -> None:
    key = ProjectKey(tmp_path / "state", CLOCK)
    pair = key.pair()
    assert ProjectKey(tmp_path / "state", CLOCK).pair() == pair
    assert key.file.stat().st_mode & 0o777 == 0o600
    read = Ed25519Key.from_private_key_file(str(key.file))
    assert f"ssh-ed25519 {read.get_base64()}" == pair.public
    assert pair.private not in repr(KeyPair.generate())
    assert "PRIVATE" not in repr(pair)


def test_paths_are_followed_inside_the_base_only(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/sbin").symlink_to("bin")
    (tmp_path / "sbin").symlink_to("/usr/sbin")
    (tmp_path / "up").symlink_to("../../../../etc")
    (tmp_path / "usr/bin/sh").symlink_to("/usr/bin/dash")
    (tmp_path / "loop").symlink_to("loop")
    assert locate(tmp_path, "/sbin/sshd") == Path("usr/bin/sshd")
    assert locate(tmp_path, "/up/passwd") == Path("etc/passwd")
    assert locate(tmp_path, "/sbin/sh") == Path("usr/bin/sh")
    assert locate(tmp_path, "/sbin/sh", last=True) == Path("usr/bin/dash")
    with pytest.raises(ProviderError, match="in circles"):
        locate(tmp_path, "/loop/x")


def test_links_that_a_sandbox_made_do_not_lead_to_this_machine(tmp_path: Path) -> None:
    (tmp_path / "base/etc").mkdir(parents=True)
    (tmp_path / "base/etc/motd").write_text("from the base")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "hosts").write_text("secret")
    disk = Disk(tmp_path / "disk", tmp_path / "base")
    disk.clear()
    disk.lay_out()
    assert disk.read("/etc/motd") == "from the base"
    (disk.upper / "etc").symlink_to(secret)
    assert disk.read("/etc/hosts") is None
    disk.write("/etc/hosts", "mine")
    assert (secret / "hosts").read_text() == "secret"
    assert disk.read("/etc/hosts") == "mine"
    (disk.upper / "etc/hosts").unlink()
    (disk.upper / "etc/hosts").symlink_to(secret / "hosts")
    assert disk.read("/etc/hosts") is None
    disk.write("/etc/hosts", "mine again")
    assert (secret / "hosts").read_text() == "secret"


def test_paths_in_overlay_options_are_escaped() -> None:
    assert rootfs.escape("/a,b:c\\d") == "/a\\,b\\:c\\\\d"


# ------------------------------------------------------------------------------------------------ processes, locks


def test_a_process_is_known_by_its_start_not_by_its_number(tmp_path: Path) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    started = int(Path("/proc/self/stat").read_text().rsplit(") ", 1)[1].split()[19])
    me = int(Path("/proc/self").resolve().name)
    assert Process(pid=me, started=started, boot=boot).alive
    assert not Process(pid=me, started=started + 1, boot=boot).alive
    assert not Process(pid=me, started=started, boot="another boot").alive
    Process(pid=me, started=started + 1, boot=boot).end(grace=0)
    (tmp_path / "record").write_text('{"pid": 1')
    assert Process.read(tmp_path / "record") is None


def test_a_lock_is_held_by_one_and_survives_the_removal_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locks.locked(path, CLOCK):
        assert locks.held(path)
        path.unlink()
        with locks.locked(path, CLOCK):
            assert locks.held(path)
    assert not locks.held(path)
    assert not locks.held(tmp_path / "never")


def test_a_lock_that_is_never_released_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.03)
    with (
        locks.locked(tmp_path / "lock", CLOCK),
        pytest.raises(ProviderError, match="another process holds"),
        locks.locked(tmp_path / "lock", CLOCK),
    ):
        pass


def test_steps_are_plain_data() -> None:
    assert json.loads(json.dumps(rootfs.steps(Path("/"), "disk")))[0][:4] == ["mount", "overlay", "root", "overlay"]
