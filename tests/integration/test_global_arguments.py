"""pyinfra's global arguments on real hosts: attempts, what goes on after an error, standard input, privileges."""

from __future__ import annotations

import threading

import pytest
from engine_hosts import CLOCK, Fleet, as_user, outputs, statuses, until

from opsflow.model.machine import Machine
from opsflow.model.result import HostStatus
from opsflow.ports import OutputReceived

pytestmark = pytest.mark.sandbox


class TestAttempts:
    def test_until_it_works(self, fleet: Fleet, host: Machine) -> None:
        result = fleet.run(
            host,
            """
            def setup(node):
                commands = ["echo x >>/srv/tries", "test $(wc -l </srv/tries) = 3", "echo done"]
                op = server.shell(name="Flaky", commands=commands, _retries=5, _retry_delay=0.05)
                server.shell(commands="echo yes", _if=lambda: op.did_succeed() and op.retry_attempts == 2)
                server.shell(commands="echo no", _if=lambda: op.stdout != "done")
            """,
        )
        assert (result.error, statuses(result)) == ("", ["changed", "changed", "unchanged"])
        assert fleet.shell(host, "cat /srv/tries") == "x\n" * 3
        said = [event.data for event in fleet.events if isinstance(event, OutputReceived) and event.stream == "stderr"]
        assert said == [b"retry 1 of 5 in 0.05 s\n", b"retry 2 of 5 in 0.05 s\n"]

    @pytest.mark.parametrize(("more", "status"), [("", "failed"), (", _ignore_errors=True", "ignored")])
    def test_in_vain(self, fleet: Fleet, host: Machine, more: str, status: str) -> None:
        fleet.shell(host, "rm -f /srv/vain")
        result = fleet.run(
            host,
            f"""
            def setup(node):
                server.shell(name="Vain", commands="echo x >>/srv/vain; exit 4", _retries=2, _retry_delay=0{more})
                server.shell(name="Next", commands="echo next")
            """,
        )
        assert fleet.shell(host, "cat /srv/vain") == "x\n" * 3
        assert statuses(result) == [status, "changed" if more else "not_run"]
        if not more:
            assert result.detail == "operation 'Vain' failed: exit code 4"

    def test_facts_are_read_anew(self, fleet: Fleet, host: Machine) -> None:
        """What an attempt finds decides what it does."""
        result = fleet.run(
            host,
            """
            from pyinfra.api import operation
            from pyinfra.facts.files import File

            @operation()
            def appear():
                if host.get_fact(File, path="/srv/appeared"):
                    yield "echo there"
                else:
                    yield "touch /srv/appeared; exit 1"

            def setup(node):
                appear(_retries=1, _retry_delay=0)
            """,
        )
        assert (statuses(result), outputs(result)) == (["changed"], ["", "there\n"])

    def test_a_condition(self, fleet: Fleet, host: Machine) -> None:
        result = fleet.run(
            host,
            """
            def not_ready(output):
                return "ready" not in output["stdout_lines"]

            def setup(node):
                op = server.shell(
                    commands="echo >>/srv/polls; test $(wc -l </srv/polls) -lt 3 && echo wait || echo ready",
                    _retries=9, _retry_delay=0, _retry_until=not_ready,
                )
                server.shell(commands="echo after", _if=lambda: op.stdout == "ready")
            """,
        )
        assert statuses(result) == ["changed", "changed"]
        assert outputs(result) == ["wait\n", "wait\n", "ready\n", "after\n"]

    def test_waiting_can_be_cancelled(self, fleet: Fleet, host: Machine) -> None:
        cancel = threading.Event()
        text = "def setup(node):\n    server.shell(commands='exit 1', _retries=1, _retry_delay=60)\n"
        started = CLOCK.monotonic()
        running = fleet.start(host, text, cancel=cancel)
        until(lambda: any(isinstance(event, OutputReceived) for event in fleet.events))
        cancel.set()
        assert running.result().status is HostStatus.CANCELLED
        assert CLOCK.monotonic() - started < 20

    def test_waiting_ends_with_the_run(self, fleet: Fleet, host: Machine) -> None:
        text = "def setup(node):\n    server.shell(commands='exit 1', _retries=1, _retry_delay=60)\n"
        result = fleet.run(host, text, timeouts={"run": 2.0})
        assert (result.status, result.detail) == (HostStatus.TIMEOUT, "the run took too long")


class TestGoingOn:
    @pytest.mark.parametrize(("more", "status"), [("", "failed"), (", _ignore_errors=True", "ignored")])
    def test_after_an_error(self, fleet: Fleet, host: Machine, more: str, status: str) -> None:
        result = fleet.run(
            host,
            f"""
            def setup(node):
                commands = ["echo one", "echo two; exit 2", "echo three"]
                op = server.shell(name="All", commands=commands, _continue_on_error=True{more})
                server.shell(commands="echo next", _if=op.did_error)
            """,
        )
        assert statuses(result) == [status, "changed" if more else "not_run"]
        assert outputs(result)[:3] == ["one\n", "two\n", "three\n"]
        if not more:
            assert result.detail == "operation 'All' failed: exit code 2"


PASSWORD = 'it\'s \\my "canary" $PATH'
CANARY = '"canary"'


@pytest.fixture(scope="module")
def boss(fleet: Fleet, host: Machine) -> Machine:
    """A user whose sudo wants a password; somebody else has the same one."""
    fleet.shell(
        host,
        "useradd -m boss; useradd -m low; useradd -m plain; mkdir -p /etc/sudoers.d;"
        f" cat >/srv/words <<'E'\nboss:{PASSWORD}\nplain:{PASSWORD}\nE\nchpasswd </srv/words; rm /srv/words;"
        " echo 'boss ALL=(ALL) ALL' >/etc/sudoers.d/boss",
    )
    return as_user(host, "boss")


WATCH = """
cat >/srv/canary <<'E'
{canary}
decoy-decoy
E
rm -f /srv/stop; : >/srv/seen; chmod 666 /srv/seen
su low -s /bin/sh -c 'until [ -e /srv/stop ]; do
  cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n" | grep -aF -f /srv/canary >>/srv/seen
done' &
"""
"""Somebody without rights looks at all processes, again and again."""


class TestPasswords:
    RECIPE = """
        from io import StringIO
        def setup(node):
            more = {{"{first}": {second!r}, "{word}": {password!r}}}
            files.put(name="Put", src=StringIO("text\\n"), dest="{dest}", mode="600", **more)
            server.shell(name="Who", commands=["id -un; pwd", "exec sh -c 'sleep 0.7' decoy-decoy"], **more)
            server.shell(name="Input", commands="cat", _stdin=["one", "two"], **more)
            files.line(name="Line", path="{dest}.lines", line="more", **more)
    """

    @pytest.mark.parametrize(
        ("user", "first", "second", "word", "who", "dest"),
        [
            ("boss", "_sudo", True, "_sudo_password", "root", "/srv/of-root"),
            ("root", "_sudo", True, "_sudo_password", "root", "/srv/of-root-too"),
            ("boss", "_su_user", "plain", "_su_password", "plain", "/home/plain/mine"),
        ],
    )
    def test_nobody_sees_one(
        self, fleet: Fleet, boss: Machine, host: Machine, user: str, first: str, second: object, word: str, who: str,
        dest: str,
    ) -> None:  # fmt: skip
        text = self.RECIPE.format(first=first, second=second, word=word, password=PASSWORD, dest=dest)
        fleet.shell(host, WATCH.format(canary=CANARY))
        try:
            result = fleet.run(as_user(host, user), text)
        finally:
            fleet.shell(host, "touch /srv/stop")
        assert (result.error, statuses(result)) == ("", ["changed"] * 4)
        who_step = result.operations[1].commands[0].stdout.split()
        assert who_step[0] == who
        assert result.operations[2].commands[0].stdout == "one\ntwo\n"
        look = f"cat {dest} {dest}.lines; stat -c '%U %a' {dest}"
        assert fleet.shell(host, look) == f"text\nmore\n{who} 600\n"
        seen = fleet.shell(host, "sort -u /srv/seen")
        assert seen == "decoy-decoy\n"
        told = result.model_dump_json() + repr(fleet.events)
        assert "canary" not in told
        assert statuses(fleet.run(as_user(host, user), text)) == ["unchanged", "changed", "changed", "unchanged"]

    @pytest.mark.parametrize(
        ("arguments", "argument"),
        [("_sudo=True, _sudo_password='wrong'", "_sudo_password"),
         ("_su_user='plain', _su_password='wrong'", "_su_password")],
    )  # fmt: skip
    def test_a_wrong_one(self, fleet: Fleet, boss: Machine, arguments: str, argument: str) -> None:
        started = CLOCK.monotonic()
        result = fleet.run(
            boss,
            f"""
            def setup(node):
                for n in range(5):
                    files.file(name=f"File {{n}}", path=f"/srv/no{{n}}", {arguments}, _ignore_errors=True)
                server.shell(name="Last", commands="id", {arguments})
            """,
        )
        assert result.status is HostStatus.FAILED
        assert f"no privileges with this password ({argument})" in result.error
        assert "wrong" not in result.error
        assert CLOCK.monotonic() - started < 15

    def test_a_missing_one_is_not_asked_for(self, fleet: Fleet, boss: Machine) -> None:
        result = fleet.run(boss, "def setup(node):\n    server.shell(commands='id', _sudo=True)\n")
        assert result.status is HostStatus.FAILED
        assert "a password is required" in result.error
