"""One shell of root for a whole run: the same as sudo each time, but sudo is started once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from engine_hosts import Fleet, add_user, outputs, statuses, until

from opsflow.model.machine import Machine
from opsflow.model.result import HostStatus

pytestmark = pytest.mark.sandbox

LOGGING = """
mv /usr/bin/sudo /usr/bin/sudo.real
cat >/usr/bin/sudo <<'END'
#!/bin/sh
id -un >>/srv/sudo.log
exec /usr/bin/sudo.real "$@"
END
chmod 755 /usr/bin/sudo; : >/srv/sudo.log; chmod 666 /srv/sudo.log
"""
"""Counts, on the host, how often somebody asks sudo."""

KILL = (
    "for p in /proc/[0-9]*; do case $(tr '\\\\0' ' ' <$p/cmdline) in *'echo ready'*) kill -9 ${p#/proc/} ;; esac; done"
)
Asked = Callable[[], int]


@pytest.fixture(scope="module")
def dev(fleet: Fleet, host: Machine) -> Machine:
    dev = add_user(fleet, host, "dev")
    fleet.shell(host, f"useradd -m app; {LOGGING}")
    return dev


@pytest.fixture
def asked(fleet: Fleet, host: Machine, dev: Machine) -> Iterator[Asked]:
    """How often sudo was asked since the last time."""

    def count() -> int:
        return int(fleet.shell(host, "wc -l </srv/sudo.log; : >/srv/sudo.log"))

    count()
    yield count
    assert fleet.shell(host, "pgrep -fc '[s]udo.real -H -n' || true") == "0\n"


MANY = """
    from io import StringIO
    def setup(node):
        sudo = {"_sudo": True}
        for name in ("one", "two", "three"):
            files.directory(name=name, path=f"/srv/{name}", mode="750", **sudo)
            files.put(name=f"put {name}", src=StringIO("x = '$HOME' `y`\\n" * 30), dest=f"/srv/{name}/file", **sudo)
        files.line(name="line", path="/srv/one/lines", line="more", **sudo)
        server.user(name="user", user="made", home="/home/made", **sudo)
        server.shell(name="who", commands=["id -un; pwd; echo $HOME; umask", "echo no >&2; cat; echo $#$1$p"], **sudo)
        server.shell(name="mine", commands="id -un", _sudo=False)
"""


def test_sudo_is_started_once_a_run(fleet: Fleet, host: Machine, dev: Machine, asked: Asked) -> None:
    first = fleet.run(dev, MANY)
    assert first.status is HostStatus.OK, first.detail
    assert outputs(first)[-3:] == ["root\n/home/dev\n/root\n0022\n", "0\n", "dev\n"]
    assert first.operations[-2].commands[1].stderr == "no\n"
    assert asked() == 1
    again = fleet.run(dev, MANY)
    assert [status for status in statuses(again) if status == "changed"] == ["changed"] * 2
    assert asked() == 1
    modes = fleet.shell(host, "stat -c '%U %a' /srv/one /srv/one/file; cat /srv/one/lines")
    assert modes == "root 750\nroot 644\nmore\n"


def test_where_sh_is_bash(fleet: Fleet, host: Machine, dev: Machine, asked: Asked) -> None:
    fleet.shell(host, "cp -P /bin/sh /srv/sh; ln -sf bash /bin/sh")
    try:
        result = fleet.run(dev, MANY)
        assert result.status is HostStatus.OK, result.detail
        assert outputs(result)[-1] == "dev\n"
        assert asked() == 1
    finally:
        fleet.shell(host, "mv /srv/sh /bin/sh")


def test_others_inherit_nothing_of_it(fleet: Fleet, host: Machine, dev: Machine) -> None:
    text = """
        from pyinfra.facts.server import Command
        def setup(node):
            host.get_fact(Command, command="id -un", _sudo=True)
            seen = host.get_fact(Command, command="echo $(ls /proc/$$/fd)", _su_user="app")
            server.shell(name="seen", commands=f"echo {seen}")
    """
    seen = outputs(fleet.run(host, text))[-1].split()
    assert {"0", "1", "2"} <= set(seen)
    assert not {"7", "9"} & set(seen)


def test_other_users_are_asked_for_each_time(fleet: Fleet, dev: Machine, asked: Asked) -> None:
    text = """
        def setup(node):
            for number in range(3):
                server.shell(name=f"{number}", commands="id -un", _sudo=True, _sudo_user="app")
    """
    assert outputs(fleet.run(dev, text)) == ["app\n"] * 3
    assert asked() == 3


def test_nothing_of_one_command_is_left_for_the_next(fleet: Fleet, dev: Machine) -> None:
    text = """
        def setup(node):
            for number, command in enumerate([
                "cd /; X=1; export X; set -e; umask 077; exit 0", "pwd; echo ${X:-none}; umask; false; echo on",
                "exec sh -c 'exit 7'", "echo 'a", "sh -c 'kill -9 $PPID'; echo not reached", "echo last",
            ]):
                server.shell(name=f"{number}", commands=command, _sudo=True, _ignore_errors=True)
    """
    result = fleet.run(dev, text)
    assert result.status is HostStatus.OK, result.detail
    codes = [command.exit_code for operation in result.operations for command in operation.commands]
    assert outputs(result)[1] == "/home/dev\nnone\n0022\non\n"
    assert codes[2:] == [7, 2, 137, 0]
    assert outputs(result)[3:] == ["", "", "last\n"]


def test_the_shell_of_root_dies_in_the_middle(fleet: Fleet, dev: Machine) -> None:
    """Then sudo is asked each time, and everything is as it would have been."""
    text = f"""
        def setup(node):
            server.shell(name="before", commands="echo before", _sudo=True)
            server.shell(name="kill", commands=["{KILL} 2>/dev/null", "echo never"], _sudo=True, _ignore_errors=True)
            server.shell(name="after", commands="id -un", _sudo=True)
    """
    result = fleet.run(dev, text)
    assert result.status is HostStatus.OK, result.detail
    assert statuses(result)[1] == "ignored"
    assert outputs(result)[-1] == "root\n"


def test_a_command_as_root_that_takes_too_long_is_ended(
    fleet: Fleet, host: Machine, dev: Machine, asked: Asked
) -> None:
    text = """
        def setup(node):
            server.shell(name="before", commands="echo before", _sudo=True)
            server.shell(name="slow", commands="sleep 1000", _sudo=True, _timeout=1, _ignore_errors=True)
            server.shell(name="after", commands=["id -un", "echo end"], _sudo=True)
    """
    result = fleet.run(dev, text)
    assert result.status is HostStatus.OK, result.detail
    assert "timed out after 1 s; ended on the host" in result.operations[1].commands[0].detail
    assert outputs(result)[-2:] == ["root\n", "end\n"]
    assert fleet.shell(host, "pgrep -fc '[s]leep 1000' || true") == "0\n"


def test_cancelled_and_nothing_is_left(fleet: Fleet, host: Machine, dev: Machine, asked: Asked) -> None:
    text = """
        def setup(node):
            server.shell(name="before", commands="echo before", _sudo=True)
            server.shell(name="slow", commands="touch /srv/slow; sleep 1000", _sudo=True)
    """
    cancel = threading.Event()
    run = fleet.start(dev, text, cancel)
    until(lambda: "slow" in fleet.shell(host, "ls /srv") or run.done)
    cancel.set()
    assert run.result().status is HostStatus.CANCELLED
    assert fleet.shell(host, "pgrep -fc '[s]leep 1000' || true") == "0\n"


def test_a_daemon_of_root_survives_and_holds_nothing(fleet: Fleet, host: Machine, dev: Machine) -> None:
    text = """
        def setup(node):
            server.shell(name="daemon", commands="setsid sleep 77 & echo started", _sudo=True)
            server.shell(name="next", commands=["echo next", "echo end"], _sudo=True)
    """
    result = fleet.run(dev, text)
    assert outputs(result) == ["started\n", "next\n", "end\n"]
    assert fleet.shell(host, "pgrep -fc '[s]leep 77'; pkill -f '[s]leep 77'") == "1\n"


def test_where_sudo_is_refused_it_says_so(fleet: Fleet, host: Machine, dev: Machine) -> None:
    fleet.shell(host, "mv /etc/sudoers.d/dev /srv/dev.sudoers")
    try:
        text = """
            def setup(node):
                server.shell(name="one", commands="id -un", _sudo=True, _ignore_errors=True)
                server.shell(name="two", commands="id -un", _sudo=True)
        """
        result = fleet.run(dev, text)
    finally:
        fleet.shell(host, "mv /srv/dev.sudoers /etc/sudoers.d/dev")
    assert result.status is HostStatus.FAILED
    assert "password is required" in result.operations[0].commands[0].stderr
    assert "password is required" in result.operations[1].commands[0].stderr
