"""The engine on real hosts: sandboxes with their own sshd."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest
from engine_hosts import CLOCK, Fleet, Running, add_user, as_user, engine_process, open_fleet, outputs, statuses, until
from relay import Relay

from opsflow.errors import HostsUnreachable, RecipeError, RunFailed, UsageError
from opsflow.model.compute import Ssh
from opsflow.model.machine import Machine
from opsflow.model.result import HostStatus
from opsflow.ports import Mode, OperationEnded, OperationStarted, OutputReceived, PhaseChanged

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with open_fleet(tmp_path_factory.mktemp("hosts"), "one", "two") as fleet:
        yield fleet


@pytest.fixture(scope="module")
def one(fleet: Fleet) -> Machine:
    return fleet._machines[0]


@pytest.fixture(scope="module")
def two(fleet: Fleet) -> Machine:
    return fleet._machines[1]


@pytest.fixture(scope="module")
def dev(fleet: Fleet, one: Machine) -> Machine:
    fleet.shell(one, "useradd -m app; useradd -m low")
    return add_user(fleet, one, "dev")


SITE = """
    from io import StringIO
    def setup(node):
        files.directory(name="Directory", path="/srv/{0}")
        config = files.put(name="Config", src=StringIO("a = 1\\n"), dest="/srv/{0}/config")
        server.shell(name="Reload", commands="echo reloaded; echo warned >&2", _if=config.did_change)
        files.link(name="Link", path="/srv/{0}/link", target="config")
"""


NEWER = "find /srv /etc /run /tmp /var/tmp ! -path /var/tmp ! -path /run -newer /etc/hostname | sort"
"""Whatever was written since the host was made; the directories that scratch space comes and goes in do not count."""


class TestRuns:
    def test_results_and_events(self, fleet: Fleet, one: Machine) -> None:
        result = fleet.run(one, SITE.format("events"))
        assert result.error == ""
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 4)
        reload = result.operations[2]
        assert (reload.name, reload.operation, reload.recipe.endswith(".setup"), reload.line) == (
            "Reload", "server.shell", True, 8
        )  # fmt: skip
        command = reload.commands[0]
        assert (command.exit_code, command.stdout, command.stderr) == (0, "reloaded\n", "warned\n")
        kinds = [type(event) for event in fleet.events]
        assert kinds[:2] == [PhaseChanged, PhaseChanged]
        started = [event.name for event in fleet.events if isinstance(event, OperationStarted)]
        ended = [event.result.name for event in fleet.events if isinstance(event, OperationEnded)]
        assert started == ended == ["Directory", "Config", "Reload", "Link"]
        printed = {(event.stream, event.data) for event in fleet.events if isinstance(event, OutputReceived)}
        assert printed == {("stdout", b"reloaded\n"), ("stderr", b"warned\n")}

    def test_a_second_run_changes_nothing(self, fleet: Fleet, one: Machine) -> None:
        fleet.run(one, SITE.format("again"))
        result = fleet.run(one, SITE.format("again"))
        assert statuses(result) == ["unchanged"] * 4
        assert fleet.shell(one, "cat /srv/again/link") == "a = 1\n"

    def test_few_round_trips(self, fleet: Fleet, one: Machine) -> None:
        first = fleet.run(one, SITE.format("trips")).stats
        # Facts (twice), script; the directory that was made is a difference for the next operation.
        assert (first.round_trips, first.misses) == (4, 1)
        # For recipes that never ran: facts, and the checksum of the file that turned out to be there.
        assert fleet.run(one, SITE.format("trips")).stats.round_trips == 3

    def test_check_changes_nothing_and_shows_what_would(self, fleet: Fleet, one: Machine) -> None:
        fleet.rest()
        before = fleet.shell(
            one, "find /srv /etc /run /tmp /var/tmp ! -path /var/tmp ! -path /run -newer /etc/hostname | sort"
        )
        result = fleet.run(one, SITE.format("check"), mode=Mode.CHECK, diff=True)
        assert statuses(result) == ["would_change", "would_change", "maybe", "would_change"]
        assert result.operations[1].diff.splitlines() == [
            "--- /dev/null", "+++ /srv/check/config", "@@ -0,0 +1 @@", "+a = 1"
        ]  # fmt: skip
        fleet.rest()
        assert (
            fleet.shell(
                one, "find /srv /etc /run /tmp /var/tmp ! -path /var/tmp ! -path /run -newer /etc/hostname | sort"
            )
            == before
        )

    def test_diff_while_running(self, fleet: Fleet, one: Machine) -> None:
        fleet.shell(one, "mkdir -p /srv/diff; echo old >/srv/diff/config")
        result = fleet.run(one, SITE.format("diff"), diff=True)
        assert result.operations[1].diff.splitlines()[2:] == ["@@ -1 +1 @@", "-old", "+a = 1"]

    def test_the_first_failure_ends_the_host(self, fleet: Fleet, one: Machine) -> None:
        result = fleet.run(
            one,
            """
            def setup(node):
                server.shell(name="Fine", commands="true")
                server.shell(name="Broken", commands=["echo before", "echo oops >&2; exit 7"])
                server.shell(name="Never", commands="touch /srv/never")
            """,
        )
        assert (result.status, statuses(result)) == (HostStatus.FAILED, ["changed", "failed", "not_run"])
        assert result.detail == "operation 'Broken' failed: exit code 7"
        assert "recipe" in result.error
        assert ":6 in recipe" in result.error
        assert "oops" in result.error
        assert result.operations[1].exit_code == 7
        fleet.shell(one, "test ! -e /srv/never")

    def test_ignored_failures(self, fleet: Fleet, one: Machine) -> None:
        result = fleet.run(
            one,
            """
            def setup(node):
                op = server.shell(commands="exit 3", _ignore_errors=True)
                server.shell(commands="echo after", _if=op.did_error)
                server.shell(commands="echo no", _if=op.did_succeed)
            """,
        )
        assert (result.status, statuses(result)) == (HostStatus.OK, ["ignored", "changed", "unchanged"])

    def test_output_of_an_operation_decides_the_next(self, fleet: Fleet, one: Machine) -> None:
        result = fleet.run(
            one,
            """
            def setup(node):
                op = server.shell(commands="hostname")
                server.shell(commands="echo yes", _if=lambda: op.stdout == "one")
                server.shell(commands="echo no", _if=lambda: op.stdout == "two")
            """,
        )
        assert statuses(result) == ["changed", "changed", "unchanged"]

    def test_a_fact_that_an_operation_changes(self, fleet: Fleet, one: Machine) -> None:
        """The second operation reads what the first one has made."""
        result = fleet.run(
            one,
            """
            def setup(node):
                server.shell(commands="mkdir -p /srv/made && echo text >/srv/made/file")
                files.file(path="/srv/made/file", mode="600")
                files.line(path="/srv/made/file", line="text")
                files.line(path="/srv/made/file", line="more")
            """,
        )
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed", "changed", "unchanged", "changed"])
        assert fleet.shell(one, "stat -c %a /srv/made/file; cat /srv/made/file") == "600\ntext\nmore\n"

    def test_more_differences_than_patience(self, fleet: Fleet, one: Machine) -> None:
        text = "def setup(node):\n    for n in range(10):\n        server.shell(commands=f'mkdir /srv/p{n}')\n"
        text += "        files.directory(path=f'/srv/p{n}')\n"
        result = fleet.run(one, text)
        assert statuses(result) == ["changed", "unchanged"] * 10
        assert result.stats.misses >= 7

    def test_chance_in_a_recipe_survives_a_difference(self, fleet: Fleet, one: Machine) -> None:
        result = fleet.run(
            one,
            """
            import secrets
            def setup(node):
                name = secrets.token_hex(8)
                server.shell(commands=f"mkdir -p /srv/chance && echo {name} >/srv/chance/a")
                files.directory(path="/srv/chance")
                server.shell(commands=f"echo {name} >/srv/chance/b")
            """,
        )
        assert statuses(result) == ["changed", "unchanged", "changed"]
        assert result.stats.misses == 1
        assert fleet.shell(one, "cat /srv/chance/a") == fleet.shell(one, "cat /srv/chance/b")

    def test_a_large_file(self, fleet: Fleet, one: Machine) -> None:
        big = fleet.recipes / "big.bin"
        big.write_bytes(os.urandom(5_000_000))
        text = "def setup(node):\n    files.put(src='big.bin', dest='/srv/big.bin', mode='640')\n"
        assert statuses(fleet.run(one, text)) == ["changed"]
        assert statuses(fleet.run(one, text)) == ["unchanged"]
        fleet.rest()
        assert fleet.shell(one, "stat -c '%a %s' /srv/big.bin; ls /var/tmp") == "640 5000000\n"

    def test_bad_recipes_are_found_before_anything_runs(self, fleet: Fleet, one: Machine) -> None:
        good = fleet.write("def setup(node):\n    server.shell(commands='touch /srv/ran')\n")
        bad = fleet.write("def setup(node):\n    files.rsync(src='.', dest='/srv')\n")
        with pytest.raises(RecipeError, match=r"files\.rsync is not supported"):
            fleet.engine.check([fleet.job(one, good, bad)])
        fleet.shell(one, "test ! -e /srv/ran")


class TestOutput:
    def test_invalid_text_and_control_codes(self, fleet: Fleet, one: Machine) -> None:
        result = fleet.run(
            one,
            r"""
            def setup(node):
                server.shell(commands="printf '\\377\\000\\033[31mred\\r\\n'")
        """,
        )
        assert (statuses(result), outputs(result)) == (["changed"], ["\\xff\0\x1b[31mred\r\n"])

    def test_huge_output_is_capped_and_counted(self, fleet: Fleet, one: Machine) -> None:
        result = fleet.run(one, "def setup(node):\n    server.shell(commands='yes | head -c 60000000')\n")
        command = result.operations[0].commands[0]
        assert (command.stdout_bytes, len(command.stdout), command.exit_code) == (60_000_000, 10_000_000, 0)

    def test_secrets_are_masked_everywhere(self, fleet: Fleet, one: Machine) -> None:
        secret = "hunter2-hunter2"
        text = f"""
            def setup(node):
                server.shell(name="Say {secret}", commands="printf '%05000d'; echo {secret}; echo {secret} >&2; exit 1")
        """
        result = fleet.run(one, text, secrets=(secret,))
        assert secret not in result.model_dump_json()
        assert secret not in repr(fleet.events)
        assert "*****FILTERED*****" in result.error

    def test_daemons_of_a_recipe(self, fleet: Fleet, one: Machine) -> None:
        started = CLOCK.monotonic()
        result = fleet.run(
            one,
            """
            def setup(node):
                server.shell(commands="sleep 300 & echo $! >/run/daemon")
                server.shell(commands="echo next")
            """,
        )
        assert statuses(result) == ["changed", "changed"]
        assert CLOCK.monotonic() - started < 10
        fleet.shell(one, "kill $(cat /run/daemon)")


class TestUsers:
    def test_sudo_and_su(self, fleet: Fleet, dev: Machine) -> None:
        result = fleet.run(
            dev,
            """
            from io import StringIO
            def setup(node):
                server.shell(commands="id -un")
                server.shell(commands="id -un", _sudo=True)
                server.shell(commands="id -un; echo $HOME", _sudo=True, _sudo_user="app")
                server.shell(commands="id -un", _sudo=True, _su_user="app")
                files.put(src=StringIO("x"), dest="/home/app/put", _sudo=True, _sudo_user="app")
                files.put(src=StringIO("x"), dest="/etc/put", mode="600", _sudo=True)
                files.directory(path="/srv/own", user="app", _sudo=True)
            """,
        )
        assert result.error == ""
        assert outputs(result)[:4] == ["dev\n", "root\n", "app\n/home/app\n", "app\n"]
        assert fleet.shell(dev, "stat -c %U:%a /home/app/put /etc/put /srv/own") == "app:644\nroot:600\napp:755\n"

    def test_a_second_run_as_another_user_changes_nothing(self, fleet: Fleet, dev: Machine) -> None:
        text = """
            from io import StringIO
            def setup(node):
                files.put(src=StringIO("y"), dest="/etc/put2", mode="600", user="app", _sudo=True)
        """
        assert statuses(fleet.run(dev, text)) == ["changed"]
        assert statuses(fleet.run(dev, text)) == ["unchanged"]

    def test_no_sudo_is_a_clear_error(self, fleet: Fleet, one: Machine) -> None:
        fleet.shell(one, "useradd -m nosudo; usermod -p '*' nosudo")
        result = fleet.run(as_user(one, "nosudo"), "def setup(node):\n    server.shell(commands='id', _sudo=True)\n")
        assert result.status is HostStatus.FAILED
        assert "sudo: a password is required" in result.error

    def test_secrets_are_never_in_a_process_list(self, fleet: Fleet, dev: Machine) -> None:
        low = as_user(dev, "low")
        fleet.shell(dev, "sudo usermod -p '*' low")
        spy = Running(lambda: fleet.shell(low, SPY))
        until(lambda: "up" in fleet.shell(dev, "cat /home/low/up 2>/dev/null || true"))
        secret = "TopSecret-0815"
        result = fleet.run(
            dev,
            f"""
            from io import StringIO
            def setup(node):
                for n in range(12):
                    for more in ({{}}, {{"_sudo": True}}, {{"_sudo": True, "_sudo_user": "app"}}):
                        env = {{"TOKEN": "{secret}"}}
                        server.shell(commands='test "$TOKEN" = {secret}; sleep 0.05', _env=env, **more)
                files.put(src=StringIO("{secret}"), dest="/home/app/secret", mode="600", _sudo=True, _sudo_user="app")
            """,
        )
        assert result.error == ""
        fleet.shell(low, "touch ~/stop")
        seen = spy.result()
        assert "sudo" in seen, "the spy saw the run"
        assert secret not in seen
        assert "Secret" not in fleet.shell(dev, "sudo grep -r Secret /var/tmp /run /tmp 2>/dev/null || true")


# All argument lists of all processes, again and again, as a user without rights.
SPY = """
echo up >~/up
while [ ! -e ~/stop ]; do for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; echo; done; done 2>/dev/null | sort -u
"""

SLOW = """
    def setup(node):
        server.shell(name="Slow", commands="echo $$ >/run/slow{0}; sleep {1}")
        server.shell(name="Next", commands="touch /run/next{0}")
"""


class TestOneRunAtATime:
    def test_a_second_controller_is_refused(self, fleet: Fleet, one: Machine) -> None:
        other = fleet.start(one, SLOW.format("a", 8), epoch=5)
        until(lambda: "1" in fleet.shell(one, "ls /run/slowa 2>/dev/null | wc -l"))
        result = fleet.run(
            one, "def setup(node):\n    server.shell(commands='touch /run/intruder')\n", epoch=5, run="2"
        )
        assert (result.status, result.detail) == (
            HostStatus.FAILED, "another run holds this host: run 1 of engine/host1"
        )  # fmt: skip
        fleet.shell(one, "test ! -e /run/intruder")
        assert other.result().status is HostStatus.OK

    def test_another_owner_is_refused_whatever_its_epoch(self, fleet: Fleet, one: Machine) -> None:
        other = fleet.start(one, SLOW.format("b", 8))
        until(lambda: "1" in fleet.shell(one, "ls /run/slowb 2>/dev/null | wc -l"))
        result = fleet.run(one, "def setup(node): ...\n", epoch=99, name="host2")
        assert result.status is HostStatus.FAILED
        assert "another run holds this host" in result.detail
        assert other.result().status is HostStatus.OK

    def test_a_newer_epoch_takes_over(self, fleet: Fleet, one: Machine) -> None:
        older = fleet.start(one, SLOW.format("c", 300), epoch=5)
        until(lambda: "1" in fleet.shell(one, "ls /run/slowc 2>/dev/null | wc -l"))
        result = fleet.run(one, "def setup(node):\n    server.shell(commands='echo mine')\n", epoch=6)
        assert (result.status, outputs(result)) == (HostStatus.OK, ["mine\n"])
        ended = older.result(20)
        assert ended.status is HostStatus.FAILED
        assert "newer controller" in ended.detail
        fleet.shell(one, "test ! -e /run/nextc && ! kill -0 $(cat /run/slowc) 2>/dev/null")

    def test_a_newer_epoch_of_another_store_is_refused(self, fleet: Fleet, one: Machine) -> None:
        other = fleet.start(one, SLOW.format("f", 8), epoch=5, store="store-of-a")
        until(lambda: "1" in fleet.shell(one, "ls /run/slowf 2>/dev/null | wc -l"))
        result = fleet.run(one, "def setup(node): ...\n", epoch=14, store="store-of-b")
        assert (result.status, result.detail) == (
            HostStatus.FAILED,
            "another run holds this host: run 1 of engine/host1",
        )
        assert other.result().status is HostStatus.OK

    def test_an_older_epoch_is_refused(self, fleet: Fleet, one: Machine) -> None:
        newer = fleet.start(one, SLOW.format("d", 8), epoch=7)
        until(lambda: "1" in fleet.shell(one, "ls /run/slowd 2>/dev/null | wc -l"))
        assert fleet.run(one, "def setup(node): ...\n", epoch=6).status is HostStatus.FAILED
        assert newer.result().status is HostStatus.OK

    def test_a_killed_controller(self, fleet: Fleet, one: Machine) -> None:
        """What it had begun may end; the next command does not start, and a new controller takes over."""
        process = engine_process(fleet, one, SLOW.format("e", 4), epoch=8)
        until(lambda: "1" in fleet.shell(one, "ls /run/slowe 2>/dev/null | wc -l"))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        result = fleet.run(one, "def setup(node):\n    server.shell(commands='echo mine')\n", epoch=9)
        assert (result.status, outputs(result)) == (HostStatus.OK, ["mine\n"])
        CLOCK.sleep(3)
        fleet.shell(one, "test ! -e /run/nexte")

    def test_a_killed_controller_and_no_new_one(self, fleet: Fleet, one: Machine) -> None:
        process = engine_process(fleet, one, SLOW.format("g", 3), epoch=10)
        until(lambda: "1" in fleet.shell(one, "ls /run/slowg 2>/dev/null | wc -l"))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        until(lambda: "0" in fleet.shell(one, "ls -d /run/opsflow-*.lock 2>/dev/null | wc -l"), 60)
        fleet.shell(one, "test ! -e /run/nextg")


class TestTrust:
    def test_a_changed_host_key_gets_no_byte(self, fleet: Fleet, one: Machine, two: Machine) -> None:
        changed = one.model_copy(update={"host_keys": two.host_keys})
        with listening(one) as proxy:
            machine = changed.model_copy(update={"address": "127.0.0.1", "port": proxy.port})
            result = fleet.run(machine, "def setup(node):\n    server.shell(commands='touch /srv/trusted')\n")
        assert result.status is HostStatus.FAILED
        assert "is not the expected one" in result.detail
        fleet.shell(one, "test ! -e /srv/trusted")
        assert proxy.connections == 1

    def test_an_unknown_host_key_is_refused(self, fleet: Fleet, one: Machine) -> None:
        result = fleet.run(one.model_copy(update={"host_keys": ()}), "def setup(node): ...\n")
        assert result.status is HostStatus.FAILED
        assert "no host key" in result.detail

    def test_a_wrong_user_key(self, fleet: Fleet, one: Machine, tmp_path: Path) -> None:
        paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / "key"))
        result = fleet.run(one.model_copy(update={"key_file": str(tmp_path / "key")}), "def setup(node): ...\n")
        assert result.status is HostStatus.UNREACHABLE
        assert "does not accept the key" in result.detail

    def test_a_missing_user_key(self, fleet: Fleet, one: Machine, tmp_path: Path) -> None:
        result = fleet.run(one.model_copy(update={"key_file": str(tmp_path / "no")}), "def setup(node): ...\n")
        assert f"there is no private key {tmp_path / 'no'}" in result.detail


class listening:  # noqa: N801 - reads like a verb
    """A port of this machine in front of a host (or of nothing), which counts."""

    def __init__(self, machine: Machine | None) -> None:
        self._machine = machine
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.connections = 0
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(client)
            if self._machine is not None:
                server = socket.create_connection((self._machine.address, self._machine.port))
                self._open.append(server)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def cut(self) -> None:
        for each in self._open:
            with suppress(OSError):  # the other side was quicker
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> listening:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)
        for each in self._open:
            each.close()


class TestUnreachable:
    def test_nobody_listens(self, fleet: Fleet, one: Machine) -> None:
        result = fleet.run(one.model_copy(update={"address": "127.77.255.254"}), "def setup(node): ...\n")
        assert (result.status, "Connection refused" in result.detail) == (HostStatus.UNREACHABLE, True)

    def test_nobody_answers(self, fleet: Fleet, one: Machine) -> None:
        """A full backlog drops packets, as a dead host does."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
            port = server.getsockname()[1]
            waiting = [socket.socket() for _ in range(4)]
            for each in waiting:
                each.setblocking(False)  # noqa: FBT003
                each.connect_ex(("127.0.0.1", port))
            started = CLOCK.monotonic()
            machine = one.model_copy(update={"address": "127.0.0.1", "port": port})
            result = fleet.run(machine, "def setup(node): ...\n", timeouts={"connect": 3})
            for each in waiting:
                each.close()
        assert result.status is HostStatus.UNREACHABLE
        assert CLOCK.monotonic() - started <= 4.5, "the limit is for all attempts together"

    def test_a_server_that_says_nothing(self, fleet: Fleet, one: Machine) -> None:
        with listening(None) as silent:
            machine = one.model_copy(update={"address": "127.0.0.1", "port": silent.port})
            started = CLOCK.monotonic()
            dead = fleet.start(machine, "def setup(node): ...\n", timeouts={"authentication": 3, "connect": 2})
            job = fleet.job(one, fleet.write("def setup(node): ...\n"))
            fine = fleet.engine.run(job, lambda event: None, threading.Event())
            assert fine.status is HostStatus.OK
            assert dead.result().status is HostStatus.UNREACHABLE
            assert CLOCK.monotonic() - started <= 9

    def test_a_connection_that_is_cut(self, fleet: Fleet, one: Machine) -> None:
        with Relay(str(one.address), one.port) as proxy:
            machine = one.model_copy(update={"address": "127.0.0.1", "port": proxy.port})
            run = fleet.start(
                machine,
                """
                def setup(node):
                    server.shell(name="Done", commands="echo done")
                    server.shell(name="Slow", commands="touch /run/cut; sleep 2")
                    server.shell(name="Next", commands="touch /run/next-cut")
                """,
            )
            until(lambda: "1" in fleet.shell(one, "ls /run/cut 2>/dev/null | wc -l"))
            proxy.reset()
            result = run.result(30)
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 3)
        assert result.operations[0].commands[0].stdout == "done\n"
        fleet.shell(one, "test -e /run/next-cut")

    def test_a_host_that_vanishes(self, fleet: Fleet, two: Machine) -> None:
        (gone,) = fleet.create("vanishing")
        run = fleet.start(gone, "def setup(node):\n    server.shell(commands='touch /run/here; sleep 60')\n")
        until(lambda: "1" in fleet.shell(gone, "ls /run/here 2>/dev/null | wc -l"))
        started = CLOCK.monotonic()
        fleet.terminate(gone)
        result = run.result(40)
        assert result.status is HostStatus.UNREACHABLE
        assert CLOCK.monotonic() - started < 25  # it is looked for as long as connecting may take
        assert fleet.run(two, "def setup(node):\n    server.shell(commands='true')\n").status is HostStatus.OK


class TestTime:
    def test_a_hung_command_is_ended_on_the_host(self, fleet: Fleet, one: Machine) -> None:
        started = CLOCK.monotonic()
        result = fleet.run(
            one,
            """
            def setup(node):
                server.shell(name="Hang", _timeout=1,
                             commands="trap '' TERM; echo $$ >/run/hang; sleep 300 & while :; do sleep 1; done")
                server.shell(name="Next", commands="true")
            """,
        )
        assert (result.status, statuses(result)) == (HostStatus.FAILED, ["failed", "not_run"])
        assert result.detail == "operation 'Hang' failed: timed out after 1 s; ended on the host"
        assert CLOCK.monotonic() - started < 10
        fleet.shell(one, "! kill -0 $(cat /run/hang) 2>/dev/null && ! pgrep -f 'sleep 300'")

    def test_a_hung_command_of_another_user(self, fleet: Fleet, dev: Machine) -> None:
        text = "trap '' TERM; echo $$ >/tmp/hang; while :; do sleep 1; done"
        result = fleet.run(dev, f"def setup(node):\n    server.shell(commands={text!r}, _sudo=True, _timeout=1)\n")
        assert result.status is HostStatus.FAILED
        assert "ended on the host" in result.detail
        fleet.shell(dev, "! sudo kill -0 $(cat /tmp/hang) 2>/dev/null")

    def test_cancel(self, fleet: Fleet, one: Machine) -> None:
        cancel = threading.Event()
        run = fleet.start(one, SLOW.format("x", 300), cancel)
        until(lambda: "1" in fleet.shell(one, "ls /run/slowx 2>/dev/null | wc -l"))
        started = CLOCK.monotonic()
        cancel.set()
        result = run.result(20)
        assert CLOCK.monotonic() - started < 5
        assert (result.status, result.detail) == (HostStatus.CANCELLED, "cancelled; ended on the host")
        assert statuses(result) == ["failed", "not_run"]
        fleet.shell(one, "test ! -e /run/nextx && ! kill -0 $(cat /run/slowx) 2>/dev/null")
        assert fleet.run(one, "def setup(node): ...\n").status is HostStatus.OK, "the lock is free"

    def test_cancel_while_a_recipe_hangs(self, fleet: Fleet, one: Machine) -> None:
        cancel = threading.Event()
        run = fleet.start(one, "import time\ndef setup(node):\n    time.sleep(8)\n", cancel)
        CLOCK.sleep(0.5)
        cancel.set()
        assert run.result(3).status is HostStatus.CANCELLED

    def test_cancelled_before_it_begins(self, fleet: Fleet, one: Machine) -> None:
        cancel = threading.Event()
        cancel.set()
        result = fleet.run(one, "def setup(node):\n    server.shell(commands='touch /run/begun')\n", cancel)
        assert result.status is HostStatus.CANCELLED
        fleet.shell(one, "test ! -e /run/begun")

    def test_the_runs_limit(self, fleet: Fleet, one: Machine) -> None:
        result = fleet.run(one, SLOW.format("y", 300), timeouts={"run": 3})
        assert (result.status, result.detail) == (HostStatus.TIMEOUT, "the run took too long; ended on the host")


class TestDisks:
    @pytest.fixture
    def full(self, fleet: Fleet) -> Iterator[Machine]:
        (machine,) = fleet.create("disks")
        yield machine
        fleet.terminate(machine)

    def test_full_read_only_and_noexec(self, fleet: Fleet, full: Machine) -> None:
        put = (
            "from io import StringIO\ndef setup(node):\n    files.put(src=StringIO('x' * 300000), dest='/small/file')\n"
        )
        fleet.shell(full, "mkdir /small; mount -t tmpfs -o size=200k small /small; echo old >/small/file")
        result = fleet.run(full, put)
        assert result.status is HostStatus.FAILED
        assert "No space left on device" in result.error
        assert fleet.shell(full, "cat /small/file; ls -A /small") == "old\nfile\n"

        fleet.shell(full, "mount -o remount,ro,size=10m /small")
        result = fleet.run(full, put)
        assert "Read-only file system" in result.error
        assert fleet.shell(full, "cat /small/file") == "old\n"

        big = fleet.recipes / "staged.bin"
        big.write_bytes(b"x" * 3_000_000)
        large = "def setup(node):\n    files.put(src='staged.bin', dest='/srv/staged')\n"
        fleet.shell(full, "for d in /var/tmp /tmp; do mount -t tmpfs -o size=1m t $d; done")
        result = fleet.run(full, large)
        assert result.status is HostStatus.FAILED
        assert "the staged file is not whole" in result.error
        assert "in " in result.error.splitlines()[1], "the recipe's line is named"
        inline = (
            "from io import StringIO\ndef setup(node):\n    files.put(src=StringIO('x' * 900000), dest='/srv/inl')\n"
        )
        fleet.shell(full, "for d in /var/tmp /tmp; do mount -o remount,size=64k $d; done")
        fleet.shell(full, "mount -t tmpfs -o size=64k t /run")
        result = fleet.run(full, inline)
        assert result.status is HostStatus.FAILED
        assert "the staged file is not whole" in result.error
        fleet.shell(full, "test ! -e /srv/inl; umount -l /run")
        # Where there is no room for files, they go where there is.
        assert fleet.run(full, inline).ok
        assert fleet.shell(full, "wc -c </srv/inl; umount /tmp /var/tmp") == "900000\n"

        fine = "def setup(node):\n    server.shell(commands='echo fine')\n"
        fleet.shell(full, "mount -t tmpfs -o noexec t /tmp; mount -t tmpfs -o size=16k r /run")
        fleet.shell(full, "cat /dev/zero >/run/full || true")
        assert outputs(fleet.run(full, fine)) == ["fine\n"]
        fleet.shell(full, "umount /run; mount -t tmpfs -o nr_inodes=2 r /run; touch /run/full || true")
        assert outputs(fleet.run(full, fine)) == ["fine\n"]
        fleet.shell(full, "umount /run; mount -t tmpfs -o ro r /run; mount -o remount,ro /tmp")
        assert outputs(fleet.run(full, fine)) == ["fine\n"]
        fleet.shell(full, "for d in /dev/shm /var/tmp /root; do mount -t tmpfs -o ro r $d; done")
        result = fleet.run(full, fine)
        assert (result.status, result.detail) == (
            HostStatus.FAILED,
            "no directory on the host takes the lock: tried /run, /dev/shm, /tmp, /var/tmp and the home",
        )

    def test_a_mount_point_is_written_in_place(self, fleet: Fleet, one: Machine) -> None:
        fleet.shell(one, "echo old >/srv/mounted; touch /srv/point; mount --bind /srv/mounted /srv/point")
        text = "from io import StringIO\ndef setup(node):\n    files.put(src=StringIO('new'), dest='/srv/point')\n"
        assert statuses(fleet.run(one, text)) == ["changed"]
        assert fleet.shell(one, "cat /srv/mounted; ls -A /srv | grep opsflow || true") == "new"


class TestLoginShells:
    @pytest.mark.parametrize("shell", ["/bin/bash", "/bin/dash", "/bin/tcsh", "/usr/local/bin/busybox-sh"])
    def test_any(self, fleet: Fleet, one: Machine, shell: str) -> None:
        name = Path(shell).name.replace("-", "")
        if "busybox" in shell:
            fleet.shell(one, f"printf '#!/bin/sh\\nexec busybox sh \"$@\"\\n' >{shell}; chmod 755 {shell}")
        machine = add_user(fleet, one, f"u{name}", f"-s {shell}")
        fleet.shell(one, f"echo 'echo noise; echo noise >&2' | tee /home/u{name}/.bashrc >/home/u{name}/.cshrc")
        result = fleet.run(machine, "def setup(node):\n    server.shell(commands='id -un; pwd', _sudo=False)\n")
        assert result.error == ""
        assert outputs(result) == [f"u{name}\n/home/u{name}\n"]
        assert fleet.shell(machine, "echo $0").splitlines()[-1] == "sh"

    @pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false"])
    def test_none(self, fleet: Fleet, one: Machine, shell: str) -> None:
        name = f"u{Path(shell).name}"
        machine = add_user(fleet, one, name, f"-s {shell}")
        result = fleet.run(machine, "def setup(node): ...\n")
        assert result.status is HostStatus.FAILED
        assert "the login shell of the SSH user does not run commands" in result.detail
        assert "not available" in result.detail or shell == "/bin/false"


class TestMany:
    def test_connections_are_reused(self, fleet: Fleet, one: Machine) -> None:
        with listening(one) as proxy:
            machine = one.model_copy(update={"address": "127.0.0.1", "port": proxy.port})
            for _ in range(3):
                assert fleet.run(machine, "def setup(node):\n    server.shell(commands='true')\n").ok
                fleet.shell(machine, "true")
            assert proxy.connections == 1
            proxy.cut()
            assert fleet.run(machine, "def setup(node): ...\n").ok, "a dead connection is replaced"

    def test_twenty_hosts(self, fleet: Fleet, one: Machine) -> None:
        machines = fleet.create(*(f"many{number}" for number in range(18)))
        recipe = fleet.write(SITE.format("many"))
        bad = fleet.write("def setup(node):\n    server.shell(commands='exit 1')\n")
        jobs = [fleet.job(machine, bad if n == 3 else recipe, name=f"many{n}") for n, machine in enumerate(machines)]
        with ThreadPoolExecutor(18) as pool:
            results = list(pool.map(lambda job: fleet.engine.run(job, lambda event: None, threading.Event()), jobs))
        assert [result.status.value for result in results] == ["failed" if n == 3 else "ok" for n in range(18)]
        before = len(list(Path("/proc/self/fd").iterdir()))
        for machine in machines:
            fleet.terminate(machine)
        assert before < 400


class TestAsking:
    def test_exec(self, fleet: Fleet, one: Machine) -> None:
        heard: list[tuple[str, bytes]] = []
        code = fleet.engine.exec(
            one, Ssh(), "echo out; echo err >&2; cat; exit 7", timeout=10, output=lambda s, d: heard.append((s, d))
        )
        assert code == 7
        assert (b"".join(d for s, d in heard if s == "stdout"), b"".join(d for s, d in heard if s == "stderr")) == (
            b"out\n", b"err\n"
        )  # fmt: skip

    def test_exec_with_much_output(self, fleet: Fleet, one: Machine) -> None:
        total = 0

        def count(_: str, data: bytes) -> None:
            nonlocal total
            total += len(data)

        command = "head -c 30000000 /dev/zero; head -c 20000000 /dev/zero >&2"
        assert fleet.engine.exec(one, Ssh(), command, timeout=60, output=count) == 0
        assert total == 50_000_000

    def test_exec_of_several_lines(self, fleet: Fleet, one: Machine) -> None:
        text = "read x\ncat <<E\nhere $((1+1))\nE\n# comment\nfor i in 1 2; do\necho $i\ndone\n"
        assert fleet.shell(one, text) == "here 2\n1\n2\n"

    def test_exec_of_a_long_command(self, fleet: Fleet, one: Machine) -> None:
        assert fleet.shell(one, f"echo first; : {'x' * 50_000}; echo last") == "first\nlast\n"

    def test_exec_leaves_daemons_alone(self, fleet: Fleet, one: Machine) -> None:
        started = CLOCK.monotonic()
        fleet.shell(one, "sleep 300 & echo $! >/run/kept")
        assert CLOCK.monotonic() - started < 5
        fleet.shell(one, "kill $(cat /run/kept)")

    def test_exec_that_takes_too_long(self, fleet: Fleet, one: Machine) -> None:
        with pytest.raises(RunFailed, match="took more than 1 s and was ended"):
            fleet.shell(one, "echo $$ >/run/long; trap '' TERM; sleep 300; sleep 300", timeout=1)
        fleet.shell(one, "! kill -0 $(cat /run/long) 2>/dev/null")

    def test_exec_on_nothing(self, fleet: Fleet, one: Machine) -> None:
        with pytest.raises(HostsUnreachable, match="Connection refused"):
            fleet.shell(one.model_copy(update={"address": "127.77.255.254"}), "true")

    def test_facts(self, fleet: Fleet, one: Machine, dev: Machine) -> None:
        facts = fleet.engine.facts(one, Ssh(), ["server.Hostname", "server.Users"])
        assert facts["server.Hostname"] == "one"
        assert "dev" in facts["server.Users"]  # type: ignore[operator]
        with pytest.raises(UsageError) as caught:
            fleet.engine.facts(one, Ssh(), ["server.Hostnam"])
        assert caught.value.hint == "did you mean server.Hostname?"

    def test_waiting_for_a_login(self, fleet: Fleet, one: Machine) -> None:
        assert fleet.engine.wait_ready(one, Ssh(), 10, threading.Event()) is None
        nowhere = one.model_copy(update={"address": "127.77.255.254"})
        why = fleet.engine.wait_ready(nowhere, Ssh(), 0.5, threading.Event())
        assert why is not None
        assert "refused" in why
        cancel = threading.Event()
        cancel.set()
        assert fleet.engine.wait_ready(nowhere, Ssh(), 30, cancel) == "cancelled"


def test_nothing_but_a_few_records_is_left_on_the_host(fleet: Fleet, one: Machine) -> None:
    fleet.run(one, SITE.format("left"))
    fleet.rest()
    find = "ls -d /run/opsflow* /tmp/opsflow* /var/tmp/opsflow* /dev/shm/opsflow* 2>/dev/null | grep -v -- '-[0-9]*$'"
    assert fleet.shell(one, f"{find} || true") == ""
    modes = fleet.shell(one, "stat -c %a:%U /run/opsflow-0 /run/opsflow-0/*").split()
    assert (modes[0], set(modes[1:])) == ("700:root", {"600:root"})
