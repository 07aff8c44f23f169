"""A new project, from nothing to running machines and back, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Shell:
    """Runs ``opsflow`` in a project, as a process without a terminal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *argv: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "opsflow", *argv], cwd=self.directory, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == expect, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def data(self, *argv: str) -> Any:
        return json.loads(self(*argv, "--json").stdout)


@pytest.mark.sandbox
def test_a_new_project_comes_up_is_used_and_goes_away(tmp_path: Path) -> None:
    Shell(tmp_path)("init", "new")
    opsflow = Shell(tmp_path / "new")
    try:
        opsflow("up", "hello", "-y")
        assert [i["status"] for i in opsflow.data("status", "hello")["instances"]] == ["online", "online"]
        page = opsflow("exec", "hello", "--only", "web1", "--", "cat", "/srv/hello/index.txt").stdout
        assert page.splitlines()[0] == "[web1] Hello from web1. In this layer:"
        assert len([line for line in page.splitlines() if " at 127.77." in line]) == 2
        assert opsflow("ssh", "hello", "web2", "--", "hostname").stdout == "web2\n"
        facts = opsflow.data("facts", "hello", "server.Hostname")["instances"]
        assert [entry["facts"] for entry in facts] == [{"server.Hostname": "web1"}, {"server.Hostname": "web2"}]
        _fail_on_one(opsflow)
    finally:
        opsflow("destroy", "hello", "-y")
    assert {i["note"] for i in opsflow.data("status", "hello")["instances"]} == {"not created"}


def _fail_on_one(opsflow: Shell) -> None:
    recipe = opsflow.directory / "recipes" / "broken.py"
    recipe.write_text(
        "from pyinfra.operations import server\n\n\ndef setup(node):\n"
        '    server.shell(name="Break", commands=["test $(hostname) = web1 || { echo oh no >&2; exit 7; }"])\n'
    )
    lines = opsflow("run", "hello", "broken.setup", expect=1).stderr.splitlines()
    assert "First error: execute_recipes on web2" in lines
    assert any("recipes/broken.py:5" in line for line in lines)
    assert "    oh no" in lines
    assert lines[-1].startswith("Retry with: opsflow runs retry ")
    run = opsflow.data("runs", "list")[0]["id"]
    shown = {entry["name"]: entry for entry in opsflow.data("runs", "show", run)["instances"]}
    assert (shown["web1"]["status"], shown["web2"]["status"]) == ("successful", "failed")
    operation = shown["web2"]["operations"][0]
    assert (operation["name"], operation["exit_code"], operation["stderr"]) == ("Break", 7, "oh no\n")
    assert "[web2]   oh no" in opsflow("runs", "logs", run).stdout
