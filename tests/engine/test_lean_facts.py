"""Lean facts are pyinfra's facts: its own text and the lean one run on the same systems, and its parsing decides."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lean_systems import DEBIAN, SHELLS, SYSTEMS, Machine, Printed, System, both, lean_command, machine, text, value
from pyinfra.facts import apt, files, server, sysvinit

from opsflow.engine import lean

pytestmark = pytest.mark.sandbox

HOST_FACTS: tuple[type[Any], ...] = (server.Users, server.LinuxDistribution, apt.AptSources)


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("system"), SYSTEMS[request.param]) as there:
        yield there


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("system"), System(DEBIAN)) as there:
        yield there


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("kind", HOST_FACTS)
def test_the_same_value_on_every_system(system: Machine, kind: type[Any], shell: str) -> None:
    theirs, ours = both(system, kind, shell)
    assert ours == theirs
    assert kind is apt.AptSources or (theirs["root"]["uid"] == 0 if kind is server.Users else theirs["name"])


RELEASES = {
    "names with spaces": {"my own-release": "ID=x\n", "os-release": "ID=debian\n"},
    "a directory and an option": {"x-release/file": "", "-release": "ID=y\n", "os-release": "ID=debian\nVERSION_ID=1"},
    "nothing": {"hosts": ""},
    "empty ones": {"arch-release": "", "a-release": ""},
    "more than ASCII": {"os-release": 'NAME="Distribuição \xe9"\nID=x\n'.encode("latin-1"), "a-release": "é…\n"},
    "apt: names": {
        "apt/sources.list.d/a b.list": "deb http://x y z\n",
        "apt/sources.list.d/=c.sources": "Types: deb\n",
    },
    "apt: a directory": {
        "apt/sources.list.d/d.list/x": "",
        "apt/sources.list": "deb http://x y z\n\ndeb-src http://x y z",
    },
}


@pytest.mark.parametrize("case", RELEASES)
def test_files_off_the_rule(debian: Machine, case: str) -> None:
    debian.write(RELEASES[case])
    (debian.etc / "lsb-release").symlink_to("nowhere")
    (debian.etc / "z-release").symlink_to("/dev/null")
    for shell in SHELLS:
        for kind in (server.LinuxDistribution, apt.AptSources):
            theirs, ours = both(debian, kind, shell)
            assert ours == theirs


def test_what_another_user_may_not_read(tmp_path: Path) -> None:
    released = {
        **DEBIAN,
        "a-release": "ID=secret\n",
        "x/secret/file": "",
        "apt/sources.list.d/s.list": "deb http://s x y\n",
    }
    with machine(tmp_path / "system", System(released, uid=65534)) as there:
        for closed in ("a-release", "x/secret", "apt/sources.list.d/s.list"):
            (there.etc / closed).chmod(0)
        for kind in (server.LinuxDistribution, apt.AptSources):
            theirs, ours = both(there, kind, "dash")
            assert ours == theirs
        for path in ("/etc/x", "/etc/x/secret", "/etc/x/secret/file", "/etc/shadow", "/etc/a-release"):
            for fact, arguments in (
                (files.FindInFile, ("x",)),
                (files.Block, ()),
                (files.File, ()),
                (files.Sha1File, ()),
            ):
                theirs, ours = both(there, fact, "dash", path, *arguments)
                assert ours == theirs, (path, fact)


LSB = "### BEGIN INIT INFO\n"
SCRIPTS = {
    "some": {
        "up": f'#!/bin/sh\n{LSB}[ "$1" = status ]\n',
        "down": f"#!/bin/sh\n# {LSB}echo not running\nexit 3\n",
        "confused": f"#!/bin/sh\n{LSB}exit 5\n",
        "no-program": f"{LSB}exit 1\n",
        "README": "nothing to run\n",
        ".hidden": f"#!/bin/sh\n{LSB}",
        "below/script": f"#!/bin/sh\n{LSB}",
        "bytes.sh": f"#!/bin/sh\n{LSB}# \0\xff\nexit 1\n",
    },
    "names with spaces": {"a b": f"#!/bin/sh\n{LSB}", "b": f"#!/bin/sh\n{LSB}exit 2\n"},
    "none that knows": {"old": "#!/bin/sh\n"},
    "none": {},
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("case", SCRIPTS)
def test_service_scripts(debian: Machine, case: str, shell: str) -> None:
    debian.write({f"init.d/{name}": text for name, text in SCRIPTS[case].items()})
    for file in debian.etc.glob("init.d/*"):
        file.chmod(0o644 if file.name == "no-program" else 0o755)
    theirs, ours = both(debian, sysvinit.InitdStatus, shell)
    assert ours == theirs
    assert case != "some" or (ours["up"], ours["down"], ours["confused"]) == (True, False, None)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    (tree / "file").write_text("one\ntwo $HOME\n# BEGIN PYINFRA BLOCK\ninside\n# END PYINFRA BLOCK\n")
    (tree / "empty").touch()
    (tree / "it's a 'file' && \"so\" on").write_text("one\n")
    (tree / "a=b").write_text("one\n")
    (tree / "two\nlines").write_text("one\n")
    (tree / "back\\slash").write_text("one\n")
    (tree / "dir/below").mkdir(parents=True)
    (tree / "dir/below/file").write_text("one\n")
    (tree / "link").symlink_to("file")
    (tree / "dangling").symlink_to("nowhere at all")
    (tree / "loop").symlink_to("loop")
    (tree / "todir").symlink_to("dir")
    os.mkfifo(tree / "fifo")
    (tree / "-n").write_text("one\n")
    return tree


PATHS = [
    "file", "empty", "it's a 'file' && \"so\" on", "a=b", "two\nlines", "back\\slash", "dir", "dir/", "link",
    "dangling",     "loop", "loop/", "todir", "missing", "missing/file", "file/below", "-n", "", "n=one", "~/file", "~",
]  # fmt: skip
FILE_FACTS: list[tuple[type[Any], tuple[Any, ...]]] = [
    *((kind, ()) for kind in (files.File, files.Directory, files.Link, files.Socket)),
    *((kind, ()) for kind in (files.Sha1File, files.Sha256File, files.Sha384File, files.Md5File)),
    (files.FindInFile, ("two",)),
    (files.FindInFile, ("it's $HOME|one", False, True)),
    (files.FindInFile, ("two $HOME", True)),
    (files.Block, ()),
    (files.Block, ("// {mark} it's",)),
]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("relative", [True, False])
def test_facts_about_files(tree: Path, shell: str, relative: bool) -> None:
    for path in PATHS:
        name = path if relative or path[:1] in ("~", "") else f"{tree}/{path}"
        for kind, arguments in FILE_FACTS:
            original, ours = kind(), kind()
            theirs = local(text(kind.command(original, name, *arguments)), shell, tree)
            lean_text = text(lean_command(kind)(ours, name, *arguments))
            assert value(ours, local(lean_text, shell, tree)) == value(original, theirs), (path, kind)


@pytest.mark.parametrize("kind", [files.File, files.Sha1File, files.FindInFile, files.Block])
def test_in_a_directory_that_is_not_there(tree: Path, kind: type[Any]) -> None:
    arguments = ("two",) if kind is files.FindInFile else ()
    for path in (f"{tree}/file", f"{tree}/missing"):
        original, ours = kind(), kind()
        theirs = local(f"cd nowhere && {text(kind.command(original, path, *arguments))}", "dash", tree)
        same = local(f"cd nowhere && {text(lean.COMMANDS[kind](ours, path, *arguments))}", "dash", tree)
        assert value(ours, same) == value(original, theirs)


def local(command: str, shell: str, directory: Path) -> Printed:
    argv = [*SHELLS[shell].split(), "-c", command]
    environment = {**os.environ, "HOME": str(directory)}
    done = subprocess.run(argv, cwd=directory, env=environment, capture_output=True, stdin=subprocess.DEVNULL)
    return Printed(done.stdout, done.returncode)


INSTALLED = """
from pyinfra.facts import files, server
original = server.Users().command()
from opsflow.engine import lean
assert server.Users().command() == original
lean.install()
lean.install()
assert server.Users().command() == lean.USERS and original in lean.USERS
assert files.Link().command("/x").get_raw_value().startswith("! { test -e /x")
assert all(kind.command is command for kind, command in lean.COMMANDS.items())
print("installed")
"""


def test_installing_is_for_a_process_and_may_be_repeated() -> None:
    done = subprocess.run([sys.executable, "-c", INSTALLED], capture_output=True, text=True)
    assert done.stdout == "installed\n", done.stderr
