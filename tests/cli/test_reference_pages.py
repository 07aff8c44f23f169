"""The generated pages of docs/ are as the code is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from opsflow.cli.commands import COMMANDS
from opsflow.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_line_page_has_every_command_and_exit_code() -> None:
    text = (ROOT / "docs/reference/cli.md").read_text()
    assert all(f"### opsflow {name}\n" in text for name in COMMANDS)
    assert all(f"\n| {code.value} | " in text for code in ExitCode)


def test_the_stack_file_page_has_no_gaps_in_its_links() -> None:
    lines = (ROOT / "docs/reference/stack-file.md").read_text().splitlines()
    sections = {line.removeprefix("## ").lower() for line in lines if line.startswith("## ")}
    assert [line for line in lines if line.endswith("|  |")] == [], "a field without words"
    linked = {part.split(")")[0] for line in lines for part in line.split("](#")[1:]}
    assert {"stack", "layer", "instance", "app"} <= sections
    assert linked <= sections
