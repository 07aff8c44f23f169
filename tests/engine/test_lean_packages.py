"""The packages of dpkg from its file are those of `dpkg -l`, which runs itself where the file may not say it all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lean_systems import DEBIAN, Machine, Printed, System, both, machine, value
from pyinfra.facts import deb

from opsflow.engine import lean, lean_packages

pytestmark = pytest.mark.sandbox

STATUS = "/var/lib/dpkg/status"


def stanza(name: str, version: str, status: str = "install ok installed", arch: str = "amd64", more: str = "") -> str:
    text = f"Package: {name}\nStatus: {status}\nMaintainer: nobody <n@example.org>\nArchitecture: {arch}\n"
    return f"{text}{more}Version: {version}\nDescription: what {name} is\n more of it\n .\n Version: 9\n\n"


ONE = stanza("bash", "5.2.15-2+b2")
SURE: Mapping[str, str] = {
    "one": ONE,
    "several": ONE
    + stanza("libc6", "2.36-9+deb12u4", arch="amd64", more="Multi-Arch: same\n")
    + stanza("vim", "2:9.0.1378-2"),
    "two architectures": ONE
    + stanza("libc6", "2.36-9", more="Multi-Arch: same\n")
    + stanza("libc6", "2.36-9", arch="i386", more="Multi-Arch: same\n"),
    "foreign": ONE + stanza("wine32", "8.0~repack-4", arch="i386"),
    "held": ONE + stanza("linux-image-amd64", "6.1.55-1", "hold ok installed"),
    "removed": ONE + stanza("nano", "7.2-1", "deinstall ok config-files"),
    "to be removed": ONE
    + stanza("nano", "7.2-1", "deinstall ok installed")
    + stanza("ed", "1.19-1", "purge ok installed"),
    "half-way": ONE
    + stanza("nano", "7.2-1", "install ok unpacked")
    + stanza("ed", "1.19-1", "install ok half-configured"),
    "broken": ONE + stanza("nano", "7.2-1", "install reinstreq installed"),
    "triggers": ONE
    + stanza("man-db", "2.11.2-2", "install ok triggers-pending", more="Triggers-Pending: /usr/share/man\n"),
    "a long name": ONE + stanza("a" * 120, "1" * 90),
    "configuration files": ONE
    + stanza("nano", "7.2-1", more="Conffiles:\n /etc/nanorc 0123456789abcdef0123456789abcdef\n"),
    "epoch and revision of nothing": ONE + stanza("nano", "0.7.2-0") + stanza("ed", "1:0"),
}
UNSURE: Mapping[str, str] = {
    "nothing": "",
    "an epoch of nothing": ONE + stanza("nano", "0:7.2-1"),
    "an epoch with a zero": ONE + stanza("nano", "01:7.2-1"),
    "twice": ONE + ONE,
    "no name": ONE + stanza("nano", "7.2-1").replace("Package: nano\n", ""),
    "no version": ONE + stanza("nano", "7.2-1").replace("Version: 7.2-1\n", ""),
    "no such name": ONE + stanza("na_no", "7.2-1"),
    "no text of dpkg": f"{ONE}\0\0\0\0\n",
    "something else": f"{ONE}something else\n",
    "no text at the end": f"{ONE}\0\0\0",
    "two empty lines": f"{ONE}\n{ONE.replace('bash', 'dash')}",
    "cut off": (ONE * 2).replace("bash", "dash", 1)[:-20],
    "cut off at the end of a line": (ONE * 2).replace("bash", "dash", 1)[:-1],
}


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("system"), System(DEBIAN, made={STATUS: ONE})) as there:
        yield there


def from_the_file(there: Machine, before: str = "") -> bool:
    return there.run(before + lean_packages.packages("echo dpkg")).stdout != b"dpkg\n"


@pytest.mark.parametrize("shell", ["dash", "busybox"])
@pytest.mark.parametrize("case", SURE)
def test_the_same_packages(debian: Machine, case: str, shell: str) -> None:
    debian.at(STATUS).write_text(SURE[case])
    theirs, ours = both(debian, deb.DebPackages, shell)
    assert ours == theirs
    assert ours["bash"] == {"5.2.15-2+b2"}
    assert from_the_file(debian)


@pytest.mark.parametrize("case", UNSURE)
def test_a_file_that_may_mean_something_else(debian: Machine, case: str) -> None:
    debian.at(STATUS).write_text(UNSURE[case])
    assert not from_the_file(debian)
    theirs, ours = both(debian, deb.DebPackages, "dash")
    assert ours == theirs


def test_busybox_awk(tmp_path: Path) -> None:
    with machine(tmp_path / "system", System(DEBIAN, busybox=True, made={STATUS: "".join(SURE.values())})) as there:
        printed = there.run(lean_packages.packages("echo dpkg"))
        assert printed.stdout == b"dpkg\n"  # bash is in it many times
        there.at(STATUS).write_text(SURE["several"])
        names = set(value(deb.DebPackages(), there.run(lean.PACKAGES)))
        assert names == {"bash", "libc6", "vim"}


class TestTheFileMayNotSayItAll:
    @pytest.mark.parametrize("variable", ["DPKG_ADMINDIR=/srv/dpkg", "DPKG_ROOT=/srv", "COLUMNS=20"])
    def test_environment(self, debian: Machine, variable: str) -> None:
        debian.at(STATUS).write_text(ONE)
        assert from_the_file(debian)
        assert not from_the_file(debian, f"export {variable}\n")

    def test_changes_that_are_not_in_it_yet(self, tmp_path: Path) -> None:
        made = {STATUS: ONE, "/var/lib/dpkg/updates/0001": stanza("bash", "6")}
        with machine(tmp_path / "system", System(DEBIAN, made=made)) as there:
            assert not from_the_file(there)
            theirs, ours = both(there, deb.DebPackages, "dash")
            assert ours == theirs == {"bash": {"6"}}

    @pytest.mark.parametrize("file", ["dpkg/dpkg.cfg", "dpkg/dpkg.cfg.d/more"])
    def test_configuration(self, tmp_path: Path, file: str) -> None:
        with machine(tmp_path / "system", System({**DEBIAN, file: "no-debsig\n"}, made={STATUS: ONE})) as there:
            assert from_the_file(there)
            there.write({**DEBIAN, file: "no-debsig\nadmindir /srv/dpkg\n"})
            assert not from_the_file(there)

    def test_no_such_file(self, debian: Machine) -> None:
        debian.at(STATUS).unlink()
        assert not from_the_file(debian)
        debian.at(STATUS).write_text(ONE)


STATES = [f"{want} {flag} {state}" for want in ("install", "hold", "deinstall", "purge") for flag in ("ok", "reinstreq")
          for state in ("installed", "unpacked", "half-installed", "half-configured", "config-files")]  # fmt: skip
PACKAGES = st.dictionaries(
    st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,6}", fullmatch=True),
    st.tuples(
        st.from_regex(r"([0-2]{1,2}:)?[0-9][A-Za-z0-9.+~]{0,6}(-[a-z0-9]{1,3})?", fullmatch=True),
        st.sampled_from(STATES),
    ),
    max_size=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PACKAGES)
def test_any_packages(debian: Machine, packages: Mapping[str, tuple[str, str]]) -> None:
    debian.at(STATUS).write_text("".join(stanza(name, version, state) for name, (version, state) in packages.items()))
    theirs, ours = both(debian, deb.DebPackages, "dash")
    assert ours == theirs


def test_what_dpkg_says_is_read_as_ever() -> None:
    said = b"ii  libc6:amd64  2.36-9  amd64  GNU C Library\n"
    assert value(deb.DebPackages(), Printed(said, 0)) == {"libc6": {"2.36-9"}}
