"""The command line of the system's ssh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from opsflow.cli.sshclient import arguments
from opsflow.errors import UsageError
from opsflow.model.compute import Ssh
from opsflow.model.machine import Machine, MachineState

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample comment"


def machine(**fields: object) -> Machine:
    given = {
        "id": "m1", "token": "t" * 8, "state": MachineState.RUNNING, "address": "127.77.0.3", "port": 2222,
        "user": "root", "key_file": "/keys/id", "host_keys": (KEY,),
    }  # fmt: skip
    return Machine.model_validate({**given, **fields})


def test_only_the_recorded_host_key_is_accepted_and_no_setting_of_the_user_counts(tmp_path: Path) -> None:
    argv = arguments(machine(), Ssh(), tmp_path / "hosts", "uptime")
    assert argv[:6] == ["ssh", "-F", "none", "-p", "2222", "-l"]
    assert "StrictHostKeyChecking=yes" in argv
    assert "IdentitiesOnly=yes" in argv
    assert "ForwardAgent=no" in argv
    assert f"UserKnownHostsFile={tmp_path / 'hosts'}" in argv
    assert argv[-3:] == ["--", "127.77.0.3", "uptime"]


def test_known_hosts_is_private_and_holds_only_the_key(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    arguments(machine(), Ssh(), file, "")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == "[127.77.0.3]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample\n"


def test_ssh_understands_the_options(tmp_path: Path) -> None:
    spaced = tmp_path / "a directory with spaces"
    spaced.mkdir()
    argv = arguments(machine(), Ssh(), spaced / "hosts", "")
    shown = subprocess.run([argv[0], "-G", *argv[1:]], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "stricthostkeychecking true" in shown
    assert "hostname 127.77.0.3" in shown
    assert any(line.startswith("userknownhostsfile") and "a directory with spaces/hosts" in line for line in shown)


@pytest.mark.parametrize("address", ["-oProxyCommand=reboot", "a b", "host;reboot", ""])
def test_an_address_that_is_no_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a user and an address"):
        arguments(machine(address=address), Ssh(), tmp_path / "hosts", "")


@pytest.mark.parametrize("keys", [(), ("not a key\nssh-ed25519 AAAA",), ("-evil AA!!",)])
def test_without_a_host_key_on_record_nothing_is_opened(keys: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="impostor"):
        arguments(machine(host_keys=keys), Ssh(), tmp_path / "hosts", "")
