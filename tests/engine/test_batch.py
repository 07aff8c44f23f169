"""A batch prints what is expected when every fact is as assumed, and never when one of them is not."""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsflow.engine import file_texts, render
from opsflow.engine.batch import batches
from opsflow.engine.messages import FactAnswer

SHELLS = {"dash": ("dash",), "bash": ("bash", "--posix"), "busybox": ("busybox", "sh")}


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with busybox's own programs."""
    programs = tmp_path_factory.mktemp("busybox")
    for name in subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        (programs / name).symlink_to("/usr/bin/busybox")
    return programs


def run(text: str, shell: str = "dash", path: Path | None = None) -> tuple[int, str]:
    environment = {**os.environ, **({"PATH": str(path)} if path else {})}
    argv = [str(shutil.which(SHELLS[shell][0])), *SHELLS[shell][1:], "-c", text]
    done = subprocess.run(argv, capture_output=True, env=environment, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout.decode(errors="backslashreplace")


def answers(keys: list[str], shell: str = "dash", path: Path | None = None) -> list[FactAnswer]:
    return [FactAnswer(exit_code=code, stdout=out) for code, out in (run(key, shell, path) for key in keys)]


def masked(answer: FactAnswer) -> tuple[int, str]:
    return answer.exit_code, re.sub(r" atime=-?\d+ ", " ", answer.stdout, count=1)


def stat(path: str | Path) -> str:
    return file_texts.stat(shlex.quote(str(path)))


def sha1(path: str | Path) -> str:
    return file_texts.digest("sha1", shlex.quote(str(path)))


class TestMembers:
    def one(self, key: str, stdout: str, code: int = 0) -> bool:
        """Whether a fact gets into a batch with itself."""
        fact = (key, FactAnswer(exit_code=code, stdout=stdout))
        made, left = batches([fact, fact])
        assert len(made) == (0 if left else 1)
        return not left

    def line(self, name: str, size: int = 3, owner: str = "root") -> str:
        return f"user={owner} group=root mode=-rw-r--r-- atime=1 mtime=2 ctime=-3 size={size} {name}\n"

    @pytest.mark.parametrize("name", ["'/a b'", "`/a b'", '"/a b"', "/a b", "'/a b' -> 'abc'", "'/a b' -> \"a'b\""])
    def test_names_as_programs_print_them(self, name: str) -> None:
        assert self.one(stat("/a b"), self.line(name))

    @pytest.mark.parametrize("name", ["'/a'", "/a b c", "'/a b' -> 'abcd'", "'/a b' -> ''", "'/a b' ->"])
    def test_other_names_are_left_out(self, name: str) -> None:
        assert not self.one(stat("/a b"), self.line(name))

    def test_what_is_printed_must_be_one_whole_line(self) -> None:
        line = self.line("/a")
        assert self.one(stat("/a"), line)
        for other in (line[:-1], line * 2, f"{line}\n", f" {line}", line.replace("size", "Size"), "drwx 1 root /a\n"):
            assert not self.one(stat("/a"), other)
        assert not self.one(stat("/a"), self.line("/a", owner="domain users"))

    def test_no_such_file(self) -> None:
        assert self.one(stat("/a"), "")
        assert self.one(sha1("/a"), "")

    def test_a_fact_that_failed_is_left_out(self) -> None:
        assert not self.one(stat("/a"), "", 1)
        assert not self.one(stat("/a"), self.line("/a"), 1)

    @pytest.mark.parametrize("path", ["a", "-", "~/a", "/a\nb", "/a'b", '/a"b', "/a\\b", "/ä", "/a\tb", "/a*", "/$a"])
    def test_odd_paths_are_left_out(self, path: str) -> None:
        assert not self.one(stat(path), "")
        assert not self.one(sha1(path), "")
        assert not self.one(stat(path), self.line(path))

    def test_digests(self) -> None:
        digest = "0" * 40
        assert self.one(sha1("/a"), f"{digest}  /a\n")
        for other in (
            f"{digest} */a\n",
            f"{digest}  /b\n",
            f"\\{digest}  /a\n",
            f"{digest[1:]}  /a\n",
            f"SHA1 (/a) = {digest}\n",
        ):
            assert not self.one(sha1("/a"), other)

    def test_other_facts_are_left_out(self) -> None:
        nothing = FactAnswer(exit_code=0, stdout="")
        for key in (
            "uname -s",
            f"cd /x && {stat('/a')}",
            f"export A=b && {stat('/a')}",
            f"{stat('/a')} ",
            "! { test -e /a",
        ):
            assert batches([(key, nothing)] * 2) == ([], [0, 1])

    def test_one_of_a_family_is_no_batch(self) -> None:
        nothing = FactAnswer(exit_code=0, stdout="")
        made, left = batches([(stat("/a"), nothing), (sha1("/a"), nothing), ("uname", nothing), (sha1("/b"), nothing)])
        assert [batch.members for batch in made] == [(1, 3)]
        assert left == [0, 2]

    def test_another_user_is_another_batch(self) -> None:
        nothing = FactAnswer(exit_code=0, stdout="")
        sudo = [render.escalated(stat(path), {"_sudo": True}) for path in ("/a", "/b")]
        other = [render.escalated(stat(path), {"_sudo": True, "_sudo_user": "web"}) for path in ("/a", "/b")]
        made, left = batches([(key, nothing) for key in (*sudo, stat("/a"), *other, stat("/b"))])
        assert sorted(batch.members for batch in made) == [(0, 1), (2, 5), (3, 4)]
        assert left == []

    def test_a_command_line_has_an_end(self) -> None:
        keys = [stat(f"/srv/{'x' * 180}/{number}") for number in range(1000)]
        made, left = batches([(key, FactAnswer(exit_code=0, stdout="")) for key in keys])
        assert [index for batch in made for index in batch.members] == list(range(1000))
        assert 2 < len(made) < 5


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("one", "two", "a name"):
        (tmp_path / name).write_text(name)
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("one")
    (tmp_path / "dangling").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("programs", ["own", "busybox"])
@pytest.mark.parametrize("family", file_texts.FAMILIES)
def test_it_stands_for_its_members(tree: Path, busybox: Path, shell: str, programs: str, family: str) -> None:
    path = busybox if programs == "busybox" else None
    names = ["one", "missing", "a name", "link", "dangling", "two", "dir"]
    if family != "stat":
        names = [name for name in names if name != "dir"]
        if path and not (busybox / file_texts.DIGESTS[family][0]).exists():
            names = ["missing", "dangling", "none"]
    keys = [file_texts.text_of(family, shlex.quote(f"{tree}/{name}")) for name in names]
    facts = list(zip(keys, answers(keys, shell, path), strict=True))
    made, left = batches(facts)
    assert (len(made), left) == (1, [])
    assert made[0].members == tuple(range(len(names)))
    assert run(made[0].command, shell, path) == (0, made[0].expected)
    assert made[0].expected == "".join(masked(answer)[1] for _, answer in facts) + ".\n"


def test_in_another_shell(tree: Path) -> None:
    keys = [render.escalated(stat(tree / name), {"_shell_executable": "bash"}) for name in ("one", "missing")]
    assert "<<" in keys[0]
    [batch], _ = batches(list(zip(keys, answers(keys), strict=True)))
    assert run(batch.command) == (0, batch.expected)
    assert batch.command.startswith("bash -c")


@pytest.mark.parametrize("family", ["stat", "sha1"])
def test_nothing_can_be_run(tree: Path, family: str) -> None:
    for names in (["one", "two"], ["missing", "gone"]):
        keys = [file_texts.text_of(family, f"{tree}/{name}") for name in names]
        [batch], _ = batches(list(zip(keys, answers(keys), strict=True)))
        _, printed = run(batch.command, path=Path("/nowhere"))
        assert (printed == batch.expected) == (names[0] == "missing")  # that needs no program at all
        assert run(f"false && {batch.command}")[1] != batch.expected


@pytest.mark.parametrize("programs", ["own", "busybox"])
def test_a_target_that_forges_the_next_line(tmp_path: Path, busybox: Path, programs: str) -> None:
    path = busybox if programs == "busybox" else None
    first, second = tmp_path / "first", tmp_path / "second"
    first.symlink_to("x")
    second.symlink_to("y")
    keys = [stat(first), stat(second)]
    known = answers(keys, path=path)
    [batch], _ = batches(list(zip(keys, known, strict=True)))
    forged = f"x'\n{masked(known[1])[1].removesuffix(chr(10)).removesuffix(chr(39))}"
    first.unlink()
    second.unlink()
    first.symlink_to(forged)
    assert run(batch.command, path=path) != (0, batch.expected)


NAMES = ("a", "b", "c d", "e/f")
CHANGES = ("remove", "file", "other", "link", "dangling", "directory", "mode", "owner", "time", "fifo", "read")


def change(path: Path, how: str, chance: random.Random) -> None:
    """Make it something else, or the same again."""
    if how in ("mode", "owner", "time", "read") and (path.is_symlink() or not path.exists()):
        return  # through a link it would change a file of this machine
    if how == "read":
        os.utime(path, (chance.randrange(9), path.stat().st_mtime))
    elif how == "mode":
        path.chmod(chance.choice([0o600, 0o644, 0o4755]))
    elif how == "owner":
        os.chown(path, chance.choice([0, 1]), -1)
    elif how == "time":
        os.utime(path, (1, chance.randrange(3)))
    else:
        make(path, how)


def make(path: Path, how: str) -> None:
    path.parent.mkdir(exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if how in ("file", "other"):
        path.write_text(how)
        os.utime(path, (1, 1))
    elif how in ("link", "dangling"):
        (path.parent / "linked-to").touch()
        path.symlink_to("linked-to" if how == "link" else "nowhere\nat all")
    elif how == "directory":
        path.mkdir()
    elif how == "fifo":
        os.mkfifo(path)


STEPS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(CHANGES)), max_size=6)


@pytest.mark.sandbox
@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(NAMES), min_size=2, max_size=5), STEPS, STEPS, st.randoms(use_true_random=False))
def test_never_equal_when_a_member_differs(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    before: list[tuple[str, str]],
    after: list[tuple[str, str]],
    chance: random.Random,
) -> None:
    tree = tmp_path_factory.mktemp("tree")
    for name, how in before:
        change(tree / name, how, chance)
    keys = [
        text(tree / name) for name in names for text in (stat, sha1) if not (text is sha1 and (tree / name).is_fifo())
    ]
    known = answers(keys)
    made, _ = batches(list(zip(keys, known, strict=True)))
    for name, how in after:
        if how != "fifo":
            change(tree / name, how, chance)
    now = answers(keys)
    for batch in made:
        same = all(masked(known[index]) == masked(now[index]) for index in batch.members)
        equal = run(batch.command)[1] == batch.expected
        assert not equal or same
        directories = any(keys[index].startswith("test -e") and known[index].stdout == "" for index in batch.members)
        assert equal or not same or directories
    shutil.rmtree(tree)
