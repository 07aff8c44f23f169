"""Do the tutorial: run every command of docs/tutorial.md and write down what it really printed.

A ``console`` block holds commands after ``$`` and their output, a ``diff`` block is applied with git apply, and
``console exit=65`` says that the last command of the block fails with that code. With --check nothing is written;
in both cases a command that ends otherwise than the tutorial says is an error. Needs root: it makes sandboxes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(console(?: exit=(\d+))?|diff)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Reader:
    """Somebody who follows the tutorial in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self._here = directory
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "COLUMNS": "96",
            "NO_COLOR": "1",
            "USER": os.environ.get("USER", "root"),
        }

    def follow(self, block: re.Match[str]) -> str:
        """Do what one block says; the block with what came out of it."""
        kind, code, text = block.groups()
        if kind == "diff":
            self._run("git apply -", 0, text)
            return block[0]
        commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
        said = []
        for command in commands:
            wanted = int(code or 0) if command == commands[-1] else 0
            said.append(f"$ {command}\n{self._run(command, wanted)}")
        return f"```{kind}\n{''.join(said)}```"

    def leave(self) -> None:
        """Take the machines away, whatever happened."""
        for stacks in self._here.glob("**/stacks"):
            self._here = stacks.parent
            self._run("opsflow destroy hello -y", None)

    def _run(self, command: str, wanted: int | None, given: str = "") -> str:
        if command.startswith("cd "):
            self._here /= command.removeprefix("cd ")
            return ""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._here,
            env=self._environment,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        if wanted is not None and done.returncode != wanted:
            sys.exit(f"{command}\n{done.stdout}exited with {done.returncode}, not {wanted}")
        return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n" if done.stdout else ""


def main(arguments: list[str]) -> int:
    """Follow the page from top to bottom."""
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="opsflow-tutorial-") as directory:
        reader = Reader(Path(directory))
        try:
            page = BLOCK.sub(reader.follow, page)
        finally:
            Reader(Path(directory)).leave()
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
