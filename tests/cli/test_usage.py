"""Help, usage errors and exit codes: what scripts and people can rely on."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli_world import Program

from opsflow.cli.commands import COMMANDS, LazyGroup, app
from opsflow.errors import ExitCode


def test_the_help_lists_every_command_and_every_exit_code(opsflow: Program) -> None:
    answer = opsflow("--help", project=False)
    assert answer.code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in answer.out
    for code in ExitCode:
        assert f"\n  {code.value} " in answer.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_table_says_the_same(name: str, opsflow: Program) -> None:
    answer = opsflow(name, "--help", project=False)
    assert answer.code == 0
    assert f"Usage: opsflow {name}" in answer.out
    group = LazyGroup(name="opsflow")
    assert group.get_command(None, name).name == name
    assert app.info.cls is LazyGroup


def test_no_command_at_all_shows_the_help_and_is_a_usage_error(opsflow: Program) -> None:
    answer = opsflow(project=False)
    assert (answer.code, answer.out) == (64, "")
    assert "Usage: opsflow" in answer.err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("statsu", "shop"), "Did you mean 'status'"),
        (("status", "shop", "--jsn"), "No such option: --jsn"),
        (("plan",), "Missing argument 'STACK'"),
        (("status", "shop", "-o", "xml"), "'xml' is not one of"),
        (("status", "shpo"), "did you mean 'shop'"),
        (("status", "./nothing.yml"), "nothing.yml"),
        (("run", "shop", "setpu"), "did you mean 'setup'"),
        (("run", "shop", "web.restrat"), "did you mean 'web.restart'"),
        (("run", "shop", "setup", "configure"), "one event at a time"),
        (("run", "shop", "setup", "--set", "workers"), "KEY=VALUE"),
        (("run", "shop", "setup", "--serial", "0"), "batch size"),
        (("run", "shop", "setup", "--timeout", "soon"), "write a time such as"),
        (("run", "shop", "setup", "--timeout", "0"), "more than 0"),
        (("run", "shop", "setup", "--fail-percent", "200"), "--fail-percent"),
        (("run", "shop", "setup", "--lock-wait", "x"), "--lock-wait"),
        (("deploy", "shop", "storefrnt"), "did you mean 'storefront'"),
        (("rollback", "shop", "storefrnt"), "did you mean 'storefront'"),
        (("undeploy", "shop", "storefrnt"), "did you mean 'storefront'"),
        (("explain", "shop", "app.workers", "--on", "ap1"), "did you mean 'app1'"),
        (("plan", "shop", "--layer", "app"), "need an EVENT"),
        (("plan", "shop", "setpu"), "did you mean 'setup'"),
        (("up", "shop", "--plan", "nothing.json"), "nothing.json"),
        (("runs", "show", "99"), "there is no run 99"),
        (("runs", "logs", "99"), "there is no run 99"),
        (("runs", "retry", "99"), "there is no run 99"),
        (("runs", "shwo", "1"), "Did you mean 'show'"),
        (("events", "--run", "99"), "there is no run 99"),
        (("exec", "shop", "--", "true"), "no machines yet"),
        (("facts", "shop"), "no machines yet"),
        (("ssh", "shop", "app1"), "no running machine"),
        (("completion", "tcsh"), "'tcsh' is not one of"),
    ],
)
def test_a_wrong_command_line_is_64_and_says_what_would_be_right(
    argv: tuple[str, ...], says: str, opsflow: Program
) -> None:
    answer = opsflow(*argv)
    assert answer.code == 64, answer.err
    assert says in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("run", "shop", "configure", "--layer", "ap"), "did you mean 'app'"),
        (("run", "shop", "configure", "--only", "ap1"), "did you mean 'app1'"),
        (("stop", "shop", "ap1"), "did you mean 'app1'"),
        (("exec", "shop", "--layer", "ap", "--", "true"), "did you mean 'app'"),
        (("facts", "shop", "--only", "ap1"), "did you mean 'app1'"),
        (("facts", "shop", "server.Nothing"), "server.Nothing"),
        (("ssh", "shop", "ap1"), "did you mean 'app1'"),
    ],
)
def test_names_that_do_not_exist_on_a_running_stack(argv: tuple[str, ...], says: str, shop: Program) -> None:
    answer = shop(*argv)
    assert answer.code == 64, answer.err
    assert says in answer.err


def test_outside_of_a_project_it_says_how_to_get_one(
    opsflow: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = opsflow("status", "shop", project=False)
    assert answer.code == 64
    assert "opsflow init DIR" in answer.err


def test_the_project_is_found_upwards_and_may_be_named_after_the_command(
    opsflow: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(opsflow.root / "recipes")
    assert opsflow("status", "shop", project=False).code == 0
    monkeypatch.chdir("/")
    assert opsflow("status", "shop", "-C", str(opsflow.root), project=False).code == 0
    assert opsflow("status", str(opsflow.root / "stacks" / "shop.yml"), project=False).code == 0


def test_a_broken_stack_file_is_65_with_its_line(opsflow: Program) -> None:
    (opsflow.root / "stacks" / "shop.yml").write_text("stack: shop\ncompute: {provider: fake}\nlayrs: {}\n")
    answer = opsflow("status", "shop")
    assert answer.code == 65
    assert "shop.yml:3:1" in answer.err
    assert "layers" in answer.err


def test_a_broken_recipe_is_65(opsflow: Program) -> None:
    (opsflow.root / "recipes" / "web.py").write_text("def setup(node:\n")
    answer = opsflow("up", "shop", "-y")
    assert answer.code == 65
    assert "web.py:1" in answer.err


def test_a_provider_that_does_not_exist_yet_says_so(opsflow: Program) -> None:
    file = opsflow.root / "stacks" / "shop.yml"
    file.write_text(file.read_text().replace("provider: fake", "provider: ec2"))
    answer = opsflow("up", "shop", "-y")
    assert answer.code == 1
    assert "'ec2' yet" in answer.err
    assert "sandbox" in answer.err


def test_a_defect_is_two_lines_and_a_private_file_without_secrets(
    opsflow: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError(f"secret {token} seen")

    token = "hunter2-hunter2"
    monkeypatch.setenv("API_TOKEN", token)
    monkeypatch.chdir(opsflow.root)
    monkeypatch.setattr(opsflow, "adapters", replace(opsflow.adapters, store=broken))
    answer = opsflow("run", "shop", "setup", "--set", "password=correct-horse", project=False)
    assert answer.code == 1
    assert "defect of opsflow: ZeroDivisionError" in answer.err
    assert "Traceback" not in answer.err
    (file,) = (opsflow.root / ".opsflow").glob("crash-*.txt")
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert "ZeroDivisionError" in text
    assert token not in text
    assert "correct-horse" not in text


def test_the_help_needs_less_than_300_ms_and_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys; from opsflow.cli.main import run; code = run(['--help']);"
        "heavy = {'pydantic', 'rich', 'sqlalchemy', 'paramiko', 'pyinfra', 'yaml', 'jinja2'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    used = [_seconds_of(code) for _ in range(3)]
    assert min(used) < 0.3


def _seconds_of(code: str) -> float:
    """Processor time of a Python process: what it takes on a machine that has nothing else to do."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
