"""Shortcuts that save a host processes: they find out what the long way finds out, and do the same."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from engine_doubles import SHELLS, Host, fact, open_host, sh, upload

from opsflow.engine import file_texts, put, tame
from opsflow.engine.messages import FactAnswer
from opsflow.engine.root_shell import through


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """Files, directories and links of every kind, and some that are not there."""
    (tmp_path / "file").write_text("some\ntext\n")
    (tmp_path / "empty").touch()
    (tmp_path / "two words").write_text("x")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "forged").symlink_to("file\nuser=root group=root mode=-rw-r--r-- atime=1 mtime=1 ctime=1 size=1 x")
    names = ("file", "empty", "two words", "directory", "link", "dangling", "missing", "no directory/x")
    return [tmp_path / name for name in names]


def answered(host: Host, *keys: str) -> dict[str, tuple[int, str]]:
    return {key: (answer.exit_code, answer.stdout) for key, answer in host.fetch(*keys).facts.items()}


@pytest.mark.parametrize("text", [file_texts.stat, lambda word: file_texts.digest("sha1", word)])
def test_files_read_together_are_what_they_are_alone(host: Host, places: list[Path], text: object) -> None:
    assert callable(text)
    keys = [text(f"'{place}'" if " " in str(place) else str(place)) for place in places]
    together = answered(host, *keys)
    alone = {key: answer for key in keys for key, answer in answered(host, key).items()}
    # A digest cannot be made of a directory: then nothing is said about any of them, and each is asked for alone.
    if text is file_texts.stat:
        assert together == alone
        assert len(together) == len(places)
    else:
        assert together.items() <= alone.items()
        without = [key for key in keys if "directory" not in key]
        assert answered(host, *without) == {key: alone[key] for key in without}


def test_a_name_that_forges_lines_is_in_no_other_ones_place(host: Host, places: list[Path], tmp_path: Path) -> None:
    keys = [file_texts.stat(str(place)) for place in (tmp_path / "forged", tmp_path / "file", tmp_path / "missing")]
    together = answered(host, *keys)
    alone = {key: answer for key in keys for key, answer in answered(host, key).items()}
    assert together.items() <= alone.items()


class TestAtAStroke:
    """Facts that are looked at together, before anything runs."""

    KEYS = ("cat one", "cat two")

    def run(self, host: Host, keys: tuple[str, ...], known: tuple[str, ...], tmp_path: Path) -> tuple[object, bool]:
        answers = [FactAnswer(exit_code=0, stdout=printed) for printed in known]
        pairs = zip(keys, answers, strict=True)
        steps = [fact(key).model_copy(update={"answer": answer}) for key, answer in pairs]
        result = host.operations([*steps, sh("touch ran")], fresh=set())
        return result.miss, (tmp_path / "ran").exists()

    def test_all_as_assumed(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "one").write_text("1\n")
        (tmp_path / "two").write_text("2\n")
        assert self.run(host, self.KEYS, ("1\n", "2\n"), tmp_path) == (None, True)

    @pytest.mark.parametrize(("one", "two", "where"), [("1", "1\n", 0), ("1\n", "", 1), ("1\n|0\n2\n", "", 0)])
    def test_the_first_difference_is_found(self, host: Host, tmp_path: Path, one: str, two: str, where: int) -> None:
        (tmp_path / "one").write_text("1\n")
        (tmp_path / "two").write_text("2\n")
        assert self.run(host, self.KEYS, (one, two), tmp_path) == ((0, where), False)

    def test_answers_that_look_like_the_end_of_one(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "one").write_text("1\n|0\n2")
        (tmp_path / "two").write_text("")
        assert self.run(host, self.KEYS, ("1\n", "2\n|0\n"), tmp_path) == ((0, 0), False)

    def test_a_fact_that_ends_its_shell_or_moves_it_does_not_touch_the_next(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "one").write_text("1\n")
        keys = ("cd /; exit 0", "cat one", "echo 'not so'")
        assert self.run(host, keys, ("", "1\n", "not so\n"), tmp_path) == (None, True)

    def test_a_file_that_was_missing_in_between(self, host: Host, tmp_path: Path) -> None:
        """The shell compares with what it read last, not with what it read before that."""
        keys = tuple(file_texts.digest("sha1", f"{tmp_path}/{name}") for name in ("one", "two"))
        (tmp_path / "one").write_text("content")
        host.fetch(keys[0])
        (tmp_path / "one").unlink()
        assert [answer.stdout for answer in host.fetch(*keys).facts.values()] == ["", ""]
        (tmp_path / "one").write_text("content")
        assert self.run(host, keys[:1], ("",), tmp_path) == ((0, 0), False)

    def test_a_missing_file_is_looked_for_without_a_process(self, host: Host, tmp_path: Path) -> None:
        keys = (file_texts.stat(f"{tmp_path}/one"), file_texts.stat(f"{tmp_path}/two"))
        (tmp_path / "two").symlink_to("nowhere")
        assert self.run(host, keys, ("", ""), tmp_path) == ((0, 1), False)
        (tmp_path / "two").unlink()
        assert self.run(host, keys, ("", ""), tmp_path) == (None, True)


def test_a_fact_that_ends_its_shell_is_still_read(host: Host) -> None:
    found = answered(host, "echo before; exit 3", "set -e; echo one; false; echo two", "echo after", "}")
    assert found["echo before; exit 3"] == (3, "before\n")
    assert found["set -e; echo one; false; echo two"] == (1, "one\n")
    assert found["echo after"] == (0, "after\n")
    assert found["}"][0] != 0


def test_plain_commands_say_what_they_say_and_fail_as_they_fail(host: Host, tmp_path: Path) -> None:
    scripts = ("mkdir -p a/b", "echo 'a  line' >>a/file", "mkdir a", "touch never")
    assert all(tame.writes(script) for script in scripts)
    result = host.commands(*scripts)
    made, failed = result.commands[0], result.commands[2]
    assert (tmp_path / "a/file").read_text() == "a  line\n"
    assert (made.exit_code, bytes(made.stdout), bytes(made.stderr)) == (0, b"", b"")
    assert failed.exit_code != 0
    assert b"exist" in failed.stderr.lower()
    assert (tmp_path / "a/b").is_dir()
    assert not (tmp_path / "never").exists()
    assert 3 not in result.commands
    later = host.commands("touch later", "echo still there")
    assert bytes(later.commands[1].stdout) == b"still there\n"


@pytest.mark.parametrize("hanging", ["cp pipe copy", "echo text >>pipe"])
def test_a_plain_command_that_hangs_is_ended(host: Host, tmp_path: Path, hanging: str) -> None:
    assert tame.writes(hanging)
    result = host.commands("mkfifo pipe", hanging, "touch never", command=0.5)
    assert "timed out after 0.5 s; ended on the host" in result.commands[1].killed
    assert not (tmp_path / "never").exists()
    assert bytes(host.commands("echo on").commands[0].stdout) == b"on\n"


@pytest.mark.parametrize(
    "content",
    [b"plain 'text' with $quotes `and` \\n\n", b"no end", b"\x00\xff binary\n", "für\n".encode(), b"", b"-n\n"],
)
def test_files_arrive_as_they_are(host: Host, tmp_path: Path, content: bytes) -> None:
    result = host.operations([upload("there", content)], [upload("again", content * 3)])
    assert [heard.exit_code for heard in result.commands.values()] == [0, 0]
    assert (tmp_path / "there").read_bytes() == content
    assert (tmp_path / "again").read_bytes() == content * 3


def test_somebody_elses_file_with_the_temporary_name_is_left_alone(host: Host, tmp_path: Path) -> None:
    host.fetch()
    other = tmp_path / f".opsflow.{host.shell.pid}"
    other.write_text("not ours")
    assert host.operations([upload("there", b"text")]).commands[0].exit_code == 0
    assert (tmp_path / "there").read_bytes() == b"text"
    assert other.read_text() == "not ours"
    assert {path.name for path in tmp_path.iterdir()} == {"there", other.name}


def test_where_others_can_write_a_fifo_of_theirs_gets_nothing(host: Host, tmp_path: Path) -> None:
    host.fetch()
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    os.mkfifo(shared / f".opsflow.{host.shell.pid}")
    assert host.operations([upload(f"{shared}/file", b"text")], command=5).commands[0].exit_code == 0
    assert (shared / "file").is_file()
    assert (shared / "file").read_bytes() == b"text"


def test_a_shell_whose_script_was_not_sent_is_not_kept(dash: Host, tmp_path: Path) -> None:
    dash.fetch()
    large = tmp_path / "large"
    large.write_bytes(b"x" * 100_000)
    step = upload("copy", b"").model_copy(update={"content": None, "path": str(large), "size": 100_000})
    dash.cancel.set()
    assert dash.operations([fact("echo new"), step]).stopped == "cancelled"
    dash.cancel.clear()
    assert not dash.shell.leave(dash.limits())


@pytest.mark.parametrize("private", [False, True])
def test_only_whole_texts_for_uploads_are_recognised(private: bool) -> None:
    text = put.text("/etc/motd", private=private)
    assert put.recognised(text)
    assert not put.recognised(f"{text}sleep 100 &\n")
    assert not put.recognised(f"sleep 100 & {text}")


@pytest.mark.parametrize(
    "script",
    [
        "mkdir a; sleep 9 &", "mkdir $(x)", "mkdir `x`", "mkdir a &", "mkdir a | cat", "X=1 mkdir a",
        "mkdir a\nsleep 9 &", "echo a", "echo a > b", "echo $x >> b", "echo a >> /dev/tcp", "echo a >> b; sleep 9 &",
        "cp *", "rm ~/x", 'rm "$HOME"', "mkdirs x", "sh -c 'sleep 9 &'", "rm x > y", "mkdir '", "sudo mkdir x",
    ],
)  # fmt: skip
def test_what_could_do_more_than_it_says_is_not_tame(script: str) -> None:
    assert not tame.writes(script)


@pytest.mark.parametrize(
    "key",
    [
        "cat x; exit", "cat $x", "cat x && cd /", "cd /", "exit", "eval x", "cat x\nexit", "cat x > y", "x=1 cat y",
        "command -v x; y", "if [ -n \"$A\" ]; then\nexit;\nfi", "set -e",
    ],
)  # fmt: skip
def test_facts_that_could_change_their_shell_are_not_tame(key: str) -> None:
    assert not tame.reads(key)


class TestApart:
    """A command and the engine's shell know nothing of each other."""

    def test_the_engines_variables_and_functions_are_not_there(self, host: Host) -> None:
        names = "echo ${_N:-1}${_D:-2}${_d:-3}${_K:-4}${_c0:-5}; set | grep -c '^_[A-Za-z]=..'; command -v _x _m _note"
        host.fetch("echo fact")
        result = host.operations([fact("echo fact"), sh(names)])
        first, second, *_ = bytes(result.commands[0].stdout).decode().splitlines()
        assert (first, second) == ("12345", "0")
        assert result.commands[0].exit_code != 0
        key = "echo ${_N:-1}${_d:-2}"
        assert host.fetch(key).facts[key].stdout == "12\n"

    def test_it_cannot_speak_for_the_engine(self, host: Host) -> None:
        forged = r"""F() { printf "\036$_N x 0 0\036\036$_N c 0 0\036\036$_N d\036"; }; F; F >&2; exit 3"""
        result = host.commands(forged, "touch never")
        assert result.commands[0].exit_code == 3
        assert 1 not in result.commands

    def test_it_is_no_function(self, dash: Host) -> None:
        assert dash.commands("local x=1; echo ok").commands[0].exit_code != 0

    def test_a_sourced_file_means_its_own_process(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "script").write_text("echo $$ >pid; kill -9 $$\n")
        result = host.commands(". ./script", "touch never")
        assert result.commands[0].exit_code == 137
        assert int((tmp_path / "pid").read_text()) != host.shell.pid
        assert bytes(host.commands("echo on").commands[0].stdout) == b"on\n"

    @pytest.mark.parametrize("text", ["trap '' TERM; kill 0; echo fine", "echo fine; trap 'kill 0' EXIT"])
    def test_a_command_that_ends_its_process_group(self, host: Host, text: str) -> None:
        result = host.commands(text, "echo next")
        assert bytes(result.commands[0].stdout) == b"fine\n"
        assert result.commands[0].exit_code in (0, 143)
        assert bytes(host.commands("echo on").commands[0].stdout) == b"on\n"

    def test_a_command_that_removes_the_engines_directory(self, host: Host, tmp_path: Path) -> None:
        host.fetch("echo fact")
        remove = f"rm -rf {place_of(host.shell.pid)}"
        result = host.operations(
            [sh(remove), sh("echo next")],
            [upload("file", b"content")],
            [fact("echo fact"), sh("echo last")],
            fresh=set(),
        )
        assert bytes(result.commands[1].stdout) == b"next\n"
        # What was staged there came with the script, which still has it.
        assert [heard.exit_code for heard in result.commands.values()] == [0, 0, 0, 0]
        assert (tmp_path / "file").read_bytes() == b"content"

    def test_and_a_large_file_waits_elsewhere(self, host: Host, tmp_path: Path) -> None:
        host.fetch("echo fact")
        content = b"\x00" * 300_000
        remove = f"rm -rf {place_of(host.shell.pid)}"
        before = set(Path("/").iterdir())
        result = host.operations([sh(remove), sh("echo next")], [upload("file", content)], [sh("echo last")])
        assert [heard.exit_code for heard in result.commands.values()] == [0, 0, 0, 0]
        assert (tmp_path / "file").read_bytes() == content
        assert set(Path("/").iterdir()) == before


def test_what_a_killed_shell_staged_is_removed_by_the_next(tmp_path: Path) -> None:
    content = b"\x00" * 300_000
    with open_host(SHELLS["dash"], tmp_path) as host:
        host.operations([upload("file", content), sh("exit 1")])
        [staged] = places_of("/var/tmp", host.shell.pid)
        os.kill(host.shell.pid, signal.SIGKILL)
    assert staged.exists()
    with open_host(SHELLS["dash"], tmp_path) as host:
        host.operations([upload("file", content)])
        assert not staged.exists()


def test_what_a_killed_shell_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with open_host(SHELLS["dash"], tmp_path) as host:
        host.commands("true")
        mine = place_of(host.shell.pid)
        os.kill(host.shell.pid, signal.SIGKILL)
    assert mine.exists()
    with open_host(SHELLS["dash"], tmp_path) as host:
        host.commands("true")
        assert not mine.exists()


def place_of(shell: int) -> Path:
    """The directory of a shell of this machine."""
    [place] = places_of("/run", shell)
    return place


def places_of(where: str, shell: int) -> list[Path]:
    return [file.parent for file in Path(where).glob("opsflow.*/by") if file.read_text() == f"{shell}\n"]


@pytest.mark.parametrize("script", ["sudo -H -n sh -c true # don't", "sudo -H -n sh -c 'echo $$'", "sudo -H -n sh -c"])
def test_only_our_own_texts_go_to_the_shell_of_root(script: str) -> None:
    assert through(script) == script
