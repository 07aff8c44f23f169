"""Shell text: quoted right, and nothing secret in an argument list."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.hiddenvalue import HiddenValue

from opsflow.engine import passwords, render

text = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)


def run(script: str, **more: Any) -> bytes:
    result = subprocess.run(["sh", "-s"], input=script.encode(), capture_output=True, check=False, **more)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def sudo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A `sudo` that notes its arguments and becomes nobody."""
    directory = tmp_path_factory.mktemp("bin")
    log = directory / "argv"
    for name in ("sudo", "su", "doas"):
        file = directory / name
        file.write_text(
            f'#!/bin/sh\nfor a; do printf "%s\\n" "$a" >>{log}; done\n'
            'case $0 in */su) shift $(($# - 1)); exec sh -c "$1";; esac\n'
            'while [ "${1#-}" != "$1" ]; do case $1 in -u) shift;; esac; shift; done\nexec "$@"\n'
        )
        file.chmod(0o755)
    return {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "ARGV_LOG": str(log)}


@settings(max_examples=40)
@given(value=text, key=st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True))
def test_environment_values_arrive_unchanged(value: str, key: str) -> None:
    key = f"OPSFLOW_{key}"
    script = render.rendered(f'printf %s "${key}"', {"_env": {key: value}})
    assert run(script) == value.encode()


@settings(max_examples=40)
@given(value=text)
def test_quoted_words_survive_every_wrapper(value: str, sudo: dict[str, str]) -> None:
    command = StringCommand("printf", "%s", QuoteString(value))
    for arguments in ({}, {"_sudo": True}, {"_sudo": True, "_sudo_user": "nobody"}, {"_su_user": "x"}):
        assert run(render.rendered(command, arguments), env=sudo) == value.encode()


@settings(max_examples=25)
@given(
    name=text.filter(
        lambda n: n not in ("", ".", "..") and not n.startswith(".") and "/" not in n and len(n.encode()) < 200
    )
)
def test_directories_and_files_of_any_name(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("d") / name
    directory.mkdir()
    (directory / name).write_text("content")
    assert run(render.rendered("cat ./*", {"_chdir": str(directory)})) == b"content"
    assert run(render.read_file(str(directory / name), {})) == b"content"


@pytest.mark.parametrize(
    "arguments",
    [
        {"_sudo": True},
        {"_sudo": True, "_sudo_user": "app"},
        {"_su_user": "app"},
        {"_sudo": True, "_use_sudo_login": True},
    ],
)
def test_secrets_are_in_no_argument_list(arguments: dict[str, Any], sudo: dict[str, str]) -> None:
    log = Path(sudo["ARGV_LOG"])
    log.unlink(missing_ok=True)
    secret = HiddenValue("hunter2-hunter2")
    command = StringCommand("printf", "'%s %s'", QuoteString(secret), '"$TOKEN"')
    script = render.rendered(command, {**arguments, "_env": {"TOKEN": HiddenValue("s3cr3t-token")}})
    assert run(script, env=sudo) == b"hunter2-hunter2 s3cr3t-token"
    seen = log.read_text()
    assert seen
    assert "hunter2" not in seen
    assert "s3cr3t" not in seen


def test_the_display_hides_what_is_hidden() -> None:
    assert "hunter2" not in str(StringCommand("echo", QuoteString(HiddenValue("hunter2-hunter2"))))


def test_exit_codes_pass_through(sudo: dict[str, str]) -> None:
    for arguments in ({}, {"_sudo": True}, {"_su_user": "x"}, {"_shell_executable": "bash"}):
        script = render.rendered("exit 7", arguments)
        result = subprocess.run(
            ["sh", "-s"], input=f"({script}\n)\necho $?".encode(), capture_output=True, env=sudo, check=True
        )
        assert result.stdout == b"7\n"


def test_a_command_that_contains_the_end_mark(sudo: dict[str, str]) -> None:
    inner = render.rendered("echo inner", {"_sudo": True})
    assert run(render.rendered(inner, {"_sudo": True}), env=sudo) == b"inner\n"


def test_here_documents_and_trailing_backslashes(sudo: dict[str, str]) -> None:
    command = "cat <<'EOF'\n$HOME `x` \\\nEOF\nprintf '%s' end\\\\"
    for arguments in ({}, {"_sudo": True}, {"_su_user": "x"}, {"_chdir": "/", "_env": {"A": "1"}}):
        assert run(render.rendered(command, arguments), env=sudo) == b"$HOME `x` \\\nend\\"


def test_another_shell() -> None:
    assert (
        run(render.rendered("[[ a == a ]] && echo ${BASH_VERSION:+bash}", {"_shell_executable": "bash"})) == b"bash\n"
    )


def test_an_upload_with_privileges(sudo: dict[str, str], tmp_path: Path) -> None:
    script = render.upload(str(tmp_path / "it's"), {"_sudo": True, "_sudo_user": "app"})
    subprocess.run(["sh", "-c", script], input=b"\0\xffdata", env=sudo, check=True)
    assert (tmp_path / "it's").read_bytes() == b"\0\xffdata"


def test_a_new_file_is_private_until_it_gets_its_mode(tmp_path: Path) -> None:
    for private, mode in ((True, 0o600), (False, 0o644)):
        file = tmp_path / f"{private}"
        subprocess.run(
            ["sh", "-c", f"umask 022; {render.upload(str(file), {}, private=private)}"], input=b"a", check=True
        )
        assert file.stat().st_mode & 0o777 == mode
    script = render.upload(str(file), {}, private=True, durable=True)
    subprocess.run(["sh", "-c", script], input=b"b", check=True)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"b", 0o644)
    assert "sync" in script


def test_names_in_the_arguments_are_quoted(sudo: dict[str, str], tmp_path: Path) -> None:
    script = render.rendered("echo ok", {"_sudo": True, "_sudo_user": f"x; touch {shlex.quote(str(tmp_path / 'no'))}"})
    assert run(script, env=sudo) == b"ok\n"
    assert not (tmp_path / "no").exists()


class TestPasswords:
    """A stand-in for sudo and su that wants a password, or does not, and counts how often it was asked."""

    WANTS = """
    case ${STAND_IN_WANTS-yes} in
    yes) IFS= read -r given; echo tried >>"$STAND_IN_LOG"
      [ "$given" = "$STAND_IN_PASSWORD" ] || { echo "sorry" >&2; exit 1; } ;;
    esac
    """
    PASSWORD = "it's \\the 'one' $HOME"

    @pytest.fixture
    def host(self, tmp_path: Path) -> dict[str, str]:
        for name in ("sudo", "su"):
            file = tmp_path / name
            file.write_text(
                f"#!/bin/sh\n{self.WANTS}\n"
                'case $0 in */su) shift $(($# - 1)); exec sh -c "$1";; esac\n'
                'while [ "${1#-}" != "$1" ]; do case $1 in -u | -p) shift;; esac; shift; done\nexec "$@"\n'
            )
            file.chmod(0o755)
        log = str(tmp_path / "log")
        return {
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "STAND_IN_LOG": log,
            "STAND_IN_PASSWORD": self.PASSWORD,
            "_D": str(tmp_path),
        }

    def run(
        self, host: dict[str, str], script: str, password: str = PASSWORD, **more: Any
    ) -> subprocess.CompletedProcess[bytes]:
        text = passwords.told({"_P0": password}) + script
        return subprocess.run(["sh", "-c", text], capture_output=True, env=host, check=False, **more)

    ARGUMENTS: ClassVar = [
        {"_sudo": True, "_sudo_password": "_P0"},
        {"_sudo": True, "_sudo_user": "app", "_sudo_password": "_P0"},
        {"_su_user": "app", "_su_password": "_P0"},
        {"_sudo": True, "_sudo_password": "_P0", "_shell_executable": "bash"},
    ]

    @pytest.mark.parametrize("arguments", ARGUMENTS)
    @pytest.mark.parametrize("wants", ["yes", "no"])
    def test_a_command(self, host: dict[str, str], arguments: dict[str, Any], wants: str) -> None:
        command = 'cat; echo "it\'s" $X; exit 3'
        script = render.rendered(command, {**arguments, "_env": {"X": "1"}})
        result = self.run({**host, "STAND_IN_WANTS": wants}, script)
        assert (result.stdout, result.stderr, result.returncode) == (b"it's 1\n", b"", 3)

    @pytest.mark.parametrize("arguments", [{}, {"_sudo": True}, *ARGUMENTS])
    @pytest.mark.parametrize("wants", ["yes", "no"])
    def test_a_command_with_standard_input(self, host: dict[str, str], arguments: dict[str, Any], wants: str) -> None:
        wants = wants if passwords.asked_for(arguments) else "no"
        script = render.rendered(
            "read -r first; printf 'got %s\\n' \"$first\"; cat", {**arguments, "_stdin": ["a\\b", "it's"]}
        )
        result = self.run({**host, "STAND_IN_WANTS": wants}, script)
        assert (result.stdout, result.stderr, result.returncode) == (b"got a\\b\nit's\n", b"", 0)

    @pytest.mark.parametrize("arguments", ARGUMENTS)
    @pytest.mark.parametrize("wants", ["yes", "no"])
    def test_an_upload(self, host: dict[str, str], tmp_path: Path, arguments: dict[str, Any], wants: str) -> None:
        script = render.upload(str(tmp_path / "new"), arguments)
        content = bytes(range(256)) * 1000
        result = self.run({**host, "STAND_IN_WANTS": wants}, script, input=content)
        assert (result.stderr, result.returncode) == (b"", 0)
        assert (tmp_path / "new").read_bytes() == content

    def test_a_wrong_one_is_tried_once(self, host: dict[str, str]) -> None:
        script = "\n".join(render.rendered(f"echo {n}", self.ARGUMENTS[0]) for n in range(5))
        result = self.run(host, script, password="wrong")
        assert (result.stdout, result.returncode) == (b"", 1)
        assert Path(host["STAND_IN_LOG"]).read_text() == "tried\n"
        assert result.stderr.count(b"sorry\nopsflow: no privileges with this password (_sudo_password)") == 5

    def test_nothing_contains_it(self) -> None:
        for arguments in self.ARGUMENTS:
            text = render.rendered("id", arguments)
            assert "_P0" in text
