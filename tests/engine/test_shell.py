"""The script on real shells of this machine: dash, bash and busybox sh."""

from __future__ import annotations

import os
import resource
import signal
import threading
from pathlib import Path

import pytest
from engine_doubles import Host, LocalConnection, alive, fact, sh, until, upload

from opsflow.clock import SystemClock
from opsflow.engine import exchange, prelude, render, script
from opsflow.engine.exchange import KEPT, Limits, Listener
from opsflow.engine.messages import FactAnswer
from opsflow.engine.shell import NoShell, Shell


def pid_in(file: Path) -> int:
    until(lambda: file.exists() and file.read_text().strip() != "")
    return int(file.read_text())


class TestOutput:
    def test_stdout_and_stderr_are_kept_apart(self, host: Host) -> None:
        result = host.commands("echo one; echo two >&2; printf three", "echo four >&2")
        first, second = result.commands[0], result.commands[1]
        assert (bytes(first.stdout), bytes(first.stderr), first.exit_code) == (b"one\nthree", b"two\n", 0)
        assert (bytes(second.stdout), bytes(second.stderr)) == (b"", b"four\n")

    def test_every_byte_survives(self, host: Host, tmp_path: Path) -> None:
        raw = bytes(range(256)) * 3 + b"\r\n\x1b[31m\xff\xfe\n\n\n"
        (tmp_path / "raw").write_bytes(raw)
        result = host.commands("cat raw; cat raw >&2")
        assert bytes(result.commands[0].stdout) == raw
        assert bytes(result.commands[0].stderr) == raw

    def test_stderr_belongs_to_its_command_however_much_it_is(self, host: Host) -> None:
        text = "head -c 3000000 /dev/zero | tr '\\0' {0} >&2"
        result = host.commands(text.format("a"), text.format("b"), "true")
        assert bytes(result.commands[0].stderr) == b"a" * 3_000_000
        assert bytes(result.commands[1].stderr) == b"b" * 3_000_000
        assert result.commands[0].stderr_bytes == result.commands[1].stderr_bytes == 3_000_000
        for number, letter in ((0, b"a"), (1, b"b")):
            assert b"".join(data for n, _, data in host.live if n == number).strip(letter) == b""

    def test_output_is_heard_while_the_command_runs(self, dash: Host, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "go")
        heard = threading.Thread(
            target=lambda: (until(lambda: dash.live != []), (tmp_path / "go").write_text("go")), daemon=True
        )
        heard.start()
        result = dash.commands("echo waiting; read x <go; echo $x")
        assert bytes(result.commands[0].stdout) == b"waiting\ngo"[:8] + b"go\n"

    def test_300_megabytes_are_counted_and_capped_in_bounded_memory(self, dash: Host) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        total = 0

        class Count(list[tuple[int, str, bytes]]):
            def append(self, item: tuple[int, str, bytes]) -> None:
                nonlocal total
                total += len(item[2])

        dash.live = Count()
        result = dash.commands("yes | head -c 300000000")
        heard = result.commands[0]
        assert (heard.stdout_bytes, len(heard.stdout), total) == (300_000_000, KEPT, 300_000_000)
        assert heard.exit_code == 0
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80_000

    def test_one_line_of_100_megabytes(self, dash: Host) -> None:
        dash.live = type("Nothing", (list,), {"append": lambda self, item: None})()
        heard = dash.commands("head -c 100000000 /dev/zero | tr '\\0' x").commands[0]
        assert (heard.stdout_bytes, len(heard.stdout), heard.exit_code) == (100_000_000, KEPT, 0)

    def test_the_caps_of_both_streams_are_one(self, dash: Host) -> None:
        heard = dash.commands("head -c 12000000 /dev/zero; head -c 12000000 /dev/zero >&2").commands[0]
        assert len(heard.stdout) + len(heard.stderr) <= KEPT
        assert heard.stderr_bytes == 12_000_000

    def test_frames_do_not_mix_with_output(self, host: Host) -> None:
        """The end of a command is told while the rest of its output is still on its way."""
        for _ in range(15):
            result = host.commands(*["printf x", "printf 'y\\n'"] * 10)
            assert [bytes(heard.stdout) for heard in result.commands.values()] == [b"x", b"y\n"] * 10


class TestExit:
    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("true", 0),
            ("false", 1),
            ("exit 7", 7),
            ("set -e; false; echo no", 1),
            ("(exit 200)", 200),
            ("kill -9 $(sh -c 'echo $PPID')", 137),
            ("nosuchcommand-opsflow", 127),
            ("set -u; echo $nosuchvariable_x", None),
            ("if", None),
            ("trap 'exit 9' 0; true", 9),
            ("exec sh -c 'exit 4'", 4),
            ("return 3 2>/dev/null || exit 3", 3),
        ],
    )
    def test_codes(self, host: Host, text: str, code: int | None) -> None:
        result = host.operations([sh(text, success_codes=tuple(range(256)))], [sh("echo still here")])
        assert result.commands[0].exit_code == code or (code is None and result.commands[0].exit_code != 0)
        assert bytes(result.commands[1].stdout) == b"still here\n"

    def test_nothing_runs_after_a_failure(self, host: Host, tmp_path: Path) -> None:
        result = host.commands("exit 3", "touch ran")
        assert list(result.commands) == [0]
        assert not (tmp_path / "ran").exists()

    def test_success_exit_codes(self, host: Host) -> None:
        result = host.operations([sh("exit 3", success_codes=(0, 3))], [sh("exit 4", success_codes=(3,))], [sh("true")])
        assert sorted(result.commands) == [0, 1]

    def test_commands_do_not_change_the_shell(self, host: Host, tmp_path: Path) -> None:
        result = host.commands(
            "cd /; x=1; umask 077; set -f; exec 7>&1; trap 'echo bye' 0", 'pwd; echo "$x"; umask; echo *'
        )
        assert bytes(result.commands[1].stdout).split(b"\n")[:2] == [str(tmp_path).encode(), b""]

    def test_a_command_sees_no_arguments_of_the_engine(self, host: Host) -> None:
        assert bytes(host.commands('echo "$#:$*"').commands[0].stdout) == b"0:\n"

    @pytest.mark.parametrize("text", ["echo $$", "echo ${PPID}"])
    def test_a_command_has_a_process_of_its_own(self, host: Host, text: str) -> None:
        """As with pyinfra; `kill $$` must not be the end of the engine's shell."""
        script = render.rendered(text, {})
        result = host.commands("true", f"{script}", script)
        one, two = (int(bytes(result.commands[number].stdout)) for number in (1, 2))
        assert (one == host.shell.pid) is ("PPID" in text and one == two)
        assert "PPID" in text or len({one, two, host.shell.pid}) == 3

    def test_standard_input_is_empty(self, host: Host) -> None:
        assert bytes(host.commands("cat; wc -c").commands[0].stdout).strip() == b"0"

    def test_the_engines_descriptors_are_closed_for_commands(self, host: Host) -> None:
        result = host.commands("for f in 3 4 5 6; do (echo x >&$f) 2>/dev/null && echo open $f; done; true")
        assert bytes(result.commands[0].stdout) == b""


class TestBackground:
    def test_a_daemon_that_keeps_the_output_neither_hangs_nor_leaks(
        self, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exchange, "FLOOD", 1.2)
        start = "( while :; do echo leak; echo leak >&2; sleep 0.05; done ) & echo $! >pid; echo started"
        result = host.commands(start, "sleep 0.3; echo second", command=20)
        assert b"started\n" in bytes(result.commands[0].stdout)
        assert bytes(result.commands[1].stdout) == b"second\n"
        assert bytes(result.commands[1].stderr) == b""

    def test_a_quiet_daemon_survives(self, host: Host, tmp_path: Path) -> None:
        result = host.commands("sleep 300 & echo $! >pid", "true", "true")
        assert [heard.exit_code for heard in result.commands.values()] == [0, 0, 0]
        pid = pid_in(tmp_path / "pid")
        assert alive(pid)
        os.kill(pid, signal.SIGKILL)

    def test_a_daemon_with_its_own_output_costs_no_waiting(self, host: Host, tmp_path: Path) -> None:
        result = host.commands("nohup sleep 300 >/dev/null 2>&1 & echo $! >pid")
        heard = result.commands[0]
        assert heard.ended is not None
        assert heard.exited is not None
        assert heard.ended - heard.exited < 0.5
        os.kill(pid_in(tmp_path / "pid"), signal.SIGKILL)


class TestTime:
    def test_a_command_that_ignores_term_is_ended_with_its_children(self, host: Host, tmp_path: Path) -> None:
        stubborn = "sh -c 'trap \"\" TERM; echo $$ >grandchild; while :; do sleep 1; done'"
        hang = f"trap '' TERM; sleep 301 & echo $! >child; {stubborn}"
        result = host.commands(
            "sleep 300 >/dev/null 2>&1 & echo $! >daemon",
            "setsid sleep 300 >/dev/null 2>&1 & echo $! >own",
            hang,
            command=1,
        )
        heard = result.commands[2]
        assert heard.killed == "timed out after 1 s; ended on the host"
        assert 3 not in result.commands
        daemon = pid_in(tmp_path / "daemon")
        assert alive(daemon), "a daemon of an earlier command survives"
        assert not alive(pid_in(tmp_path / "child"))
        assert not alive(pid_in(tmp_path / "grandchild"))
        os.kill(daemon, signal.SIGKILL)
        assert bytes(host.commands("echo the shell goes on").commands[0].stdout) == b"the shell goes on\n"

    def test_a_command_limit_of_its_own(self, dash: Host) -> None:
        result = dash.shell.run(
            script.compile_operations([], dash.shell.numbers, {}, fresh=()), dash.limits(), Listener()
        )
        assert result.commands == {}

    def test_the_runs_deadline_ends_the_shell(self, host: Host, tmp_path: Path) -> None:
        result = host.commands("echo $$ >shell; sh -c 'echo $$ >pid; exec sleep 300'", "touch next", run=1)
        assert result.stopped == "the run took too long; ended on the host"
        assert not alive(pid_in(tmp_path / "pid"))
        assert not (tmp_path / "next").exists()
        until(lambda: not alive(host.shell.pid))

    def test_cancel(self, host: Host, tmp_path: Path) -> None:
        threading.Thread(target=lambda: (pid_in(tmp_path / "pid"), host.cancel.set()), daemon=True).start()
        clock = SystemClock()
        started = clock.monotonic()
        result = host.commands("sh -c 'trap \"\" TERM; echo $$ >pid; sleep 300'", "touch next")
        assert result.stopped == "cancelled; ended on the host"
        assert clock.monotonic() - started < 6
        assert not alive(pid_in(tmp_path / "pid"))
        assert not (tmp_path / "next").exists()

    def test_a_fact_that_hangs(self, dash: Host) -> None:
        result = dash.shell.fetch(["sleep 300"], dash.limits(command=0.5))
        assert result.stopped.startswith("a fact took too long; ended on the host")

    def test_a_fact_without_end(self, dash: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exchange, "LOOK", 0.2)
        monkeypatch.setattr(exchange, "LARGEST_FACT", 5_000_000)
        result = dash.fetch("yes")
        assert result.stopped == "a fact printed too much; ended on the host"
        assert not alive(dash.shell.pid)

    def test_no_pid_ends_nothing(self, host: Host) -> None:
        """An empty or zero pid would mean every process of the machine."""
        for pid in ("", "0", "1", "-1", "1 2"):
            process = LocalConnection(("dash",), Path("/"))
            assert process.call(f"{prelude.PROC}\n_end '{pid}' ''", 10) == 1

    def test_cancelled_before_the_shell_has_said_who_it_is(self, tmp_path: Path) -> None:
        cancel = threading.Event()
        cancel.set()
        shell = Shell(LocalConnection(("sleep", "2"), tmp_path), SystemClock())  # type: ignore[arg-type]
        exchange = shell.fetch(["true"], Limits(lambda _: 1, shell.now + 60, cancel))
        assert exchange.stopped.startswith("cancelled")
        shell.close()

    def test_a_login_shell_that_says_no(self, tmp_path: Path) -> None:
        limits = Limits(lambda _: 5, 0, threading.Event())
        refuse = ("sh", "-c", "echo This account is not available.; exit 1")
        shell = Shell(LocalConnection(refuse, tmp_path), SystemClock())  # type: ignore[arg-type]
        with pytest.raises(NoShell, match="does not run commands.*This account is not available"):
            shell.fetch(["true"], limits)
        shell.close()

    def test_what_a_login_shell_prints_is_nobodys_answer(self, tmp_path: Path) -> None:
        chatty = ("sh", "-c", "echo Welcome; echo really >&2; (sleep 0.1; echo late) & exec sh")
        shell = Shell(LocalConnection(chatty, tmp_path), SystemClock())  # type: ignore[arg-type]
        key = "sleep 0.3; echo answer; echo error >&2; exit 1"
        answer = shell.fetch([key], Limits(lambda _: 5, 0, threading.Event())).facts[key]
        shell.close()
        assert (answer.stdout.replace("late\n", ""), answer.stderr) == ("answer\n", "error\n")

    def test_a_login_shell_that_hides_the_errors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exchange, "GREETING", 1.0)
        silent = ("sh", "-c", "exec 2>/dev/null; exec sh")
        shell = Shell(LocalConnection(silent, tmp_path), SystemClock())  # type: ignore[arg-type]
        with pytest.raises(NoShell, match="its standard error leads nowhere"):
            shell.fetch(["true"], Limits(lambda _: 60, 0, threading.Event()))
        shell.close()


class TestFacts:
    def test_answers(self, host: Host) -> None:
        result = host.fetch("echo a; echo b", "printf c; echo oops >&2; exit 3", "printf 'x\\n\\n'")
        assert result.facts["echo a; echo b"] == FactAnswer(exit_code=0, stdout="a\nb\n")
        assert result.facts["printf c; echo oops >&2; exit 3"] == FactAnswer(exit_code=3, stdout="c", stderr="oops\n")
        assert result.facts["printf 'x\\n\\n'"].stdout == "x\n\n"

    def test_odd_answers(self, host: Host) -> None:
        result = host.fetch(
            r"printf '\377\376 %s \\ $x `y`\n'", "echo '\"q'\"; exit", "exit 5", "set -e; false; echo no"
        )
        assert result.facts[r"printf '\377\376 %s \\ $x `y`\n'"].stdout == "\\xff\\xfe  \\ $x `y`\n"
        assert result.facts["exit 5"].exit_code == 5
        assert result.facts["set -e; false; echo no"].exit_code == 1

    def test_a_big_answer(self, host: Host) -> None:
        assert len(host.fetch("head -c 2000000 /dev/zero | tr '\\0' x").facts.popitem()[1].stdout) == 2_000_000

    def test_what_is_as_assumed_runs_and_what_differs_stops(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("1\n")
        host.fetch("cat a", "cat b")
        result = host.operations(
            [fact("cat a"), sh("echo 2 >a; echo new >b")],
            [fact("cat a"), sh("touch wrong")],
            [fact("cat b"), sh("touch later")],
        )
        assert result.miss == (1, 0)
        assert sorted(result.commands) == [0]
        assert result.facts["cat a"].stdout == "2\n"
        assert result.facts["cat b"].stdout == "new\n"
        assert not (tmp_path / "wrong").exists()
        assert not (tmp_path / "later").exists()

    def test_a_change_from_outside_is_seen(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("1\n")
        host.fetch("cat a")
        (tmp_path / "a").write_text("other\n")
        result = host.operations([fact("cat a"), sh("touch wrong")])
        assert (result.miss, result.facts["cat a"].stdout) == ((0, 0), "other\n")
        assert not (tmp_path / "wrong").exists()

    def test_a_position_after_a_yield(self, host: Host, tmp_path: Path) -> None:
        host.fetch("cat made || echo none")
        result = host.operations([sh("echo yes >made"), fact("cat made || echo none"), sh("touch wrong")])
        assert (result.miss, sorted(result.commands)) == ((0, 1), [0])
        assert result.facts["cat made || echo none"].stdout == "yes\n"

    def test_access_times_are_no_difference(self, host: Host, tmp_path: Path) -> None:
        key = 'echo "user=root atime=$(cat tick) mtime=5"; echo x >>tick'
        (tmp_path / "tick").write_text("1")
        host.fetch(key)
        result = host.operations([fact(key, "stat"), sh("touch ran")])
        assert result.miss is None
        assert (tmp_path / "ran").exists()

    def test_a_fact_that_differs_is_told_whole(self, host: Host, tmp_path: Path) -> None:
        key = 'echo "user=$(cat who) atime=1 mtime=5 size=3"'
        (tmp_path / "who").write_text("root")
        host.fetch(key)
        (tmp_path / "who").write_text("other")
        result = host.operations([fact(key, "stat"), sh("touch wrong")])
        assert (result.miss, result.facts[key].stdout) == ((0, 0), "user=other atime=1 mtime=5 size=3\n")

    def test_an_assumption_is_read_again_even_where_nothing_is_to_be_done(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("1\n")
        host.fetch("cat a")
        (tmp_path / "a").write_text("2\n")
        assert host.operations([fact("cat a")]).miss is None
        assert host.operations([fact("cat a")], fresh=()).miss == (0, 0)

    def test_slow_facts_are_not_read_in_advance(self, host: Host, tmp_path: Path) -> None:
        slow, quick = "sleep 0.1; echo x >>slow; cat slow", "echo x >>quick; cat quick"
        (tmp_path / "a").write_text("1\n")
        host.fetch("cat a", slow, quick)
        (tmp_path / "a").write_text("2\n")
        result = host.operations([fact("cat a"), sh("touch wrong")], [fact(slow)], [fact(quick)])
        assert result.miss == (0, 0)
        assert (slow in result.facts, quick in result.facts) == (False, True)

    def test_a_fact_does_not_leave_its_errors_to_a_command(self, host: Host, tmp_path: Path) -> None:
        host.fetch("cat a")
        (tmp_path / "a").write_text("x")
        host.operations([fact("cat a"), sh("true")])
        (tmp_path / "a").unlink()
        result = host.operations([sh("true")], [fact("cat a"), sh("true")])
        assert (result.miss, bytes(result.commands[0].stderr)) == ((1, 0), b"")
        assert "No such file" in result.facts["cat a"].stderr


class TestUploads:
    def test_a_new_file_gets_the_umask_mode(self, host: Host, tmp_path: Path) -> None:
        content = bytes(range(256)) * 40
        result = host.operations([upload(f"{tmp_path}/new", content)])
        assert result.commands[0].exit_code == 0
        assert (tmp_path / "new").read_bytes() == content
        assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o644
        assert [path.name for path in tmp_path.iterdir()] == ["new"]

    def test_a_file_keeps_its_mode_and_owner(self, host: Host, tmp_path: Path) -> None:
        file = tmp_path / "old"
        file.write_text("old")
        file.chmod(0o4751)
        if os.getuid() == 0:
            os.chown(file, 12345, 54321)
            file.chmod(0o4751)
        host.operations([upload(str(file), b"new")])
        status = file.stat()
        assert file.read_bytes() == b"new"
        assert status.st_mode & 0o777 == 0o751
        assert os.getuid() != 0 or (status.st_uid, status.st_gid) == (12345, 54321)

    def test_a_symlink_is_followed(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "real").write_text("old")
        (tmp_path / "link").symlink_to("real")
        host.operations([upload(f"{tmp_path}/link", b"new")])
        assert (tmp_path / "link").readlink() == Path("real")
        assert (tmp_path / "real").read_text() == "new"

    def test_a_dangling_symlink_makes_its_target(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("later")
        host.operations([upload(f"{tmp_path}/link", b"new")])
        assert (tmp_path / "later").read_text() == "new"
        assert (tmp_path / "link").is_symlink()

    def test_a_hard_link_stays_one(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "one").write_text("old")
        os.link(tmp_path / "one", tmp_path / "two")
        host.operations([upload(f"{tmp_path}/one", b"new")])
        assert (tmp_path / "two").read_text() == "new"

    def test_a_directory_is_refused(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        heard = host.operations([upload(f"{tmp_path}/d", b"new")]).commands[0]
        assert heard.exit_code == 1
        assert b"is a directory" in bytes(heard.stderr)

    def test_a_missing_directory_is_an_error(self, host: Host, tmp_path: Path) -> None:
        heard = host.operations([upload(f"{tmp_path}/no/such", b"new")]).commands[0]
        assert heard.exit_code != 0
        assert bytes(heard.stderr) != b""

    def test_relative_to_the_home(self, host: Host, tmp_path: Path) -> None:
        host.operations([upload("here", b"new")])
        assert (tmp_path / "here").read_bytes() == b"new"

    @pytest.mark.parametrize(
        "name", ["a b", "-n", "$(id)", "`x`", "it's", '"', "ü\n2", "\\", "*", "~", "a\tb", "_B64_"]
    )
    def test_strange_names(self, dash: Host, tmp_path: Path, name: str) -> None:
        assert dash.operations([upload(name, b"1")], [upload(f"{tmp_path}/{name}", b"22")]).commands[1].exit_code == 0
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"22")]

    def test_empty_and_large(self, host: Host, tmp_path: Path) -> None:
        large = tmp_path / "large"
        large.write_bytes(os.urandom(3_000_000))
        step = upload(f"{tmp_path}/copy", b"").model_copy(
            update={"content": None, "path": str(large), "size": 3_000_000}
        )
        result = host.operations([upload(f"{tmp_path}/empty", b"")], [step])
        assert [heard.exit_code for heard in result.commands.values()] == [0, 0]
        assert (tmp_path / "empty").read_bytes() == b""
        assert (tmp_path / "copy").read_bytes() == large.read_bytes()
        left = {file.name: file.stat().st_size for file in Path(host.shell.staging).iterdir()}
        assert left.pop("by") > 0
        assert set(left.values()) <= {0}

    def test_a_script_with_the_end_marks_of_the_engine(self, host: Host, tmp_path: Path) -> None:
        host.operations([upload(f"{tmp_path}/x", b"_B64_\n}\n_run\n")])
        assert (tmp_path / "x").read_bytes() == b"_B64_\n}\n_run\n"
