"""The users of a host from its files: as pyinfra's loop says, and the loop itself where the files may not be all."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lean_systems import DEBIAN, SYSTEMS, Machine, System, both, machine
from pyinfra.facts import server

from opsflow.engine import lean_users

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("system"), System(DEBIAN)) as there:
        yield there


@pytest.mark.parametrize("system", SYSTEMS)
def test_systems_that_need_no_loop(tmp_path: Path, system: str) -> None:
    with machine(tmp_path / "system", SYSTEMS[system]) as there:
        printed = there.run(lean_users.users("echo pyinfra"))
    assert b"root:x:0:0:" in printed.stdout
    assert b"pyinfra" not in printed.stdout


def more(**files: str) -> dict[str, str]:
    """Debian with lines added to some files."""
    return {
        **DEBIAN,
        **{name.replace("_", "."): DEBIAN.get(name.replace("_", "."), "") + text for name, text in files.items()},
    }


PLAIN = {
    "no shadow": {key: text for key, text in DEBIAN.items() if key != "shadow"},
    "empty shadow": {**DEBIAN, "shadow": ""},
    "no nsswitch.conf": {key: text for key, text in DEBIAN.items() if key != "nsswitch.conf"},
    "no last line end": {key: text.removesuffix("\n") for key, text in DEBIAN.items()},
    "two names for a number": more(passwd="toor:x:0:0::/root:/bin/sh\n"),
    "a password in passwd": more(passwd="old:Qx8s/.1:9:1::/:\n"),
    "upper case and underscores": more(passwd='Z:x:9:1::/:\n_X-1.b:x:10:1:a,b;c="d" $HOME `id`:/:\n'),
    "a member twice, spaces in nothing": more(group="twice:x:77:deploy,deploy,root\nempty:*:78:,,\n"),
    "brackets after the files": {**DEBIAN, "nsswitch.conf": "passwd: files [NOTFOUND=return] systemd\ngroup: files\n"},
    "groups from files by name": {**DEBIAN, "nsswitch.conf": "passwd: files\ngroup: files\ninitgroups: files\n"},
}
ODD = {
    "no users": {**DEBIAN, "passwd": ""},
    "passwd is missing": {key: text for key, text in DEBIAN.items() if key != "passwd"},
    "group is missing": {key: text for key, text in DEBIAN.items() if key != "group"},
    "a user twice": more(passwd="daemon:x:1:1::/:\n"),
    "a group twice": more(group="sudo:x:28:root\n"),
    "a group's number twice": more(group="admin:x:27:root,jane.doe\n"),
    "a group without a name": more(passwd="lost:x:9:4711::/:\n"),
    "a name that is a pattern": more(passwd="janeXdoe:x:9:1::/:\n"),
    "a pattern for a password": more(shadow="jane-doe:zzz:1::::::\n"),
    "a name with a space": more(passwd="the user:x:9:1::/:\n"),
    "a name with a star": more(passwd="d*:x:9:1::/:\n"),
    "a name that is an option": more(passwd="-n:x:9:1::/:\n"),
    "a name that is a number": more(passwd="33:x:9:1::/:\n"),
    "a machine of samba": more(passwd="pc$:x:9:1::/:\n"),
    "an empty line": more(passwd="\n"),
    "an empty line in group": more(group="\n"),
    "an empty line in shadow": more(shadow="\n"),
    "no text": more(passwd="\0\0\0\n"),
    "no text at the end": more(group="\0\0\0"),
    "nis": more(passwd="+::::::\n"),
    "a comment line": more(passwd="# local users\n"),
    "six fields": more(passwd="six:x:9:1::/\n"),
    "eight fields": more(passwd="eight:x:9:1::/::\n"),
    "a number that is none": more(passwd="none:x:9a:1::/:\n"),
    "a number with a zero": more(passwd="zero:x:09:01::/:\n"),
    "a large number": more(passwd="large:x:4294967299:1::/:\n"),
    "a backslash in the name of a person": more(passwd="back:x:9:1:a\\tb\\c:/:\n"),
    "letters beyond ASCII": more(passwd="jose:x:9:1:José:/:\n"),
    "a tab": more(passwd="tab:x:9:1:a\tb:/:\n"),
    "a carriage return": more(passwd="cr:x:9:1::/:/bin/sh\r\n"),
    "a bar in a password": more(shadow="gnats:a|b:1::::::\n"),
    "a backslash in a password": more(shadow="gnats:a\\nb:1::::::\n"),
    "two passwords": more(shadow="root:second:1::::::\n"),
    "a group with a space": more(group="domain users:x:88:root\n"),
    "a member with a space": more(group="spaced:x:88: root\n"),
    "a group's password beyond ASCII": more(group="secret:\u00e9:88:\n"),
    "a group of nis": more(group="+:::\n"),
    "ldap": {**DEBIAN, "nsswitch.conf": "passwd: files ldap\ngroup: files\n"},
    "groups from elsewhere": {**DEBIAN, "nsswitch.conf": "passwd: files\ngroup: files winbind\n"},
    "memberships from elsewhere": {**DEBIAN, "nsswitch.conf": "passwd: files\ngroup: files\ninitgroups: nis files\n"},
    "no files": {**DEBIAN, "nsswitch.conf": "passwd: files\ngroup: systemd\n"},
    "something ends the search": {**DEBIAN, "nsswitch.conf": "passwd: [NOTFOUND=return] files\ngroup: files\n"},
    "a source twice": {**DEBIAN, "nsswitch.conf": "passwd: files\ngroup: files\npasswd: files\n"},
    "records of systemd": {**DEBIAN, "userdb/deploy:lp.membership": "{}"},
    "a bsd": {**DEBIAN, "master.passwd": "root:secret:0:0::0:0::/root:\ngnats:g:41:41::0:0::/:\n"},
}


@pytest.mark.parametrize("shell", ["dash", "busybox"])
@pytest.mark.parametrize("case", PLAIN)
def test_users_of_systems_off_the_rule(debian: Machine, case: str, shell: str) -> None:
    debian.write(PLAIN[case])
    theirs, ours = both(debian, server.Users, shell)
    assert ours == theirs


@pytest.mark.parametrize("case", [*PLAIN, *ODD])
def test_the_loop_runs_where_the_files_may_not_be_all(debian: Machine, case: str) -> None:
    debian.write({**PLAIN, **ODD}[case])
    assert (b"pyinfra" in debian.run(lean_users.users("echo pyinfra")).stdout) == (case in ODD)


@pytest.mark.parametrize(
    "path",
    [
        "/run/nscd/socket",
        "/run/systemd/userdb/io.systemd.Home",
        "/run/systemd/userdb/com.example.Users",
        "/run/userdb/x.user",
        "/var/lib/sss/pipes/nss",
        "/var/lib/lastlog/lastlog2.db",
    ],
)
def test_the_loop_runs_where_somebody_else_answers(tmp_path: Path, path: str) -> None:
    with machine(tmp_path / "system", System(DEBIAN, made={path: ""})) as there:
        assert there.run(lean_users.users("echo pyinfra")).stdout == b"pyinfra\n"


def test_services_of_systemd_that_add_no_groups(tmp_path: Path) -> None:
    made = {f"/run/systemd/userdb/io.systemd.{name}": "" for name in ("DynamicUser", "Multiplexer", "Machine")}
    with machine(tmp_path / "system", System(DEBIAN, made=made)) as there:
        assert b"pyinfra" not in there.run(lean_users.users("echo pyinfra")).stdout


def logins(*records: tuple[int, int, bytes, bytes]) -> bytes:
    """A /var/log/lastlog: number of the user, time, terminal, host."""
    data = bytearray(292 * (max(uid for uid, *_ in records) + 1))
    for uid, at, line, host in records:
        struct.pack_into("<i32s256s", data, uid * 292, at, line, host)
    return bytes(data)


LOGINS = {
    "three": [
        (0, 1762300000, b"pts/0", b"10.0.0.1"),
        (1000, 1700000000, b"ssh", b"a.very.long.name.of.a.host.example.org"),
    ],
    "dotted": [(1001, 1762822862, b"pts/12", b"")],
    "odd host": [(0, 1762822862, b"pts/0", b"a|b")],
    "bytes of no encoding": [(1000, 1700000000, b"ssh", b"\xff\xfe")],
}


@pytest.mark.parametrize("case", LOGINS)
def test_last_logins(tmp_path: Path, case: str) -> None:
    with machine(tmp_path / "system", System(DEBIAN, made={"/var/log/lastlog": logins(*LOGINS[case])})) as there:
        for shell in ("dash", "busybox")[: 2 if case == "three" else 1]:
            theirs, ours = both(there, server.Users, shell)
            assert ours == theirs
        if case in ("three", "dotted"):
            assert [user["lastlog"] is None for user in ours.values()].count(False) == len(LOGINS[case])
        for added in ("toor:x:0:0::/root:/bin/sh\n", "User:x:9:1::/:\n"):  # the heading begins with this name
            there.write(more(passwd=added))
            assert there.run(lean_users.users("echo pyinfra")).stdout == b"pyinfra\n"


PLAIN_NAMES = st.sampled_from(["a", "b", "ab", "a.b", "_x", "axb", "A-1", "zero"])
NAMES = st.one_of(PLAIN_NAMES, PLAIN_NAMES, PLAIN_NAMES, st.text("ab.-_X$* 1", min_size=1, max_size=3))
NUMBERS = st.sampled_from(["0", "1", "2", "3", "1", "2", "03", "70000"])
WORDS = st.one_of(st.text("ab |$`,.", max_size=4), st.text("ab |$`,.", max_size=4), st.text("a\\é\t", max_size=2))
USER = st.tuples(NAMES, st.just("x"), NUMBERS, NUMBERS, WORDS, WORDS, WORDS).map(":".join)
GROUP = st.tuples(NAMES, st.just("x"), NUMBERS, st.lists(NAMES, max_size=3).map(",".join)).map(":".join)
SECRET = st.tuples(NAMES, WORDS, st.just("1::::::")).map(":".join)
SURE = {"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\none:x:1:a,b,ab\ntwo:x:2:b,a.b\nthree:x:3:\n"}


@settings(max_examples=35, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(USER, max_size=3), st.lists(GROUP, max_size=1), st.lists(SECRET, max_size=2))
def test_users_of_any_files(debian: Machine, users: list[str], groups: list[str], secrets: list[str]) -> None:
    added = {"passwd": users, "group": groups, "shadow": secrets}
    debian.write({name: SURE.get(name, "") + "".join(f"{line}\n" for line in lines) for name, lines in added.items()})
    theirs, ours = both(debian, server.Users, "dash")
    assert ours == theirs
