"""opsflow and the pyinfra CLI on the same recipe and the same kind of hosts, interleaved, in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = Path(sys.executable).parent

STACK = """\
stack: {name}
compute: {{provider: sandbox}}
layers:
  app:
    instances:
{instances}
"""

INVENTORY = """\
hosts = [{hosts}]
"""

DEPLOY = """\
import sys
sys.path.insert(0, {recipes!r})
from twelve import setup
setup()
"""


def run(command: list[str], directory: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)} exited with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def opsflow(*arguments: str) -> list[str]:
    return [str(SCRIPTS / "opsflow"), *arguments]


def project(root: Path, hosts: int) -> None:
    """A project with two stacks of equal hosts, one for each tool."""
    (root / "stacks").mkdir(parents=True)
    shutil.copytree(HERE / "recipes", root / "recipes")
    for name in ("ours", "theirs"):
        instances = "\n".join(f"      {name}{number}: {{}}" for number in range(1, hosts + 1))
        (root / "stacks" / f"{name}.yml").write_text(STACK.format(name=name, instances=instances))


def status(root: Path, stack: str) -> list[dict[str, object]]:
    done = subprocess.run(opsflow("status", stack, "--json"), cwd=root, check=True, capture_output=True, text=True)
    found: list[dict[str, object]] = json.loads(done.stdout)["instances"]
    return found


def pyinfra_files(root: Path) -> None:
    """Inventory and deploy file for the pyinfra CLI, which runs from the recipes' directory for its templates."""
    key = next((root / ".opsflow").rglob("key"))
    data = {
        "ssh_user": "root",
        "ssh_key": str(key),
        "ssh_strict_host_key_checking": "no",
        "ssh_known_hosts_file": os.devnull,
    }
    hosts = ", ".join(f"({item['address']!r}, {data!r})" for item in status(root, "theirs"))
    (root / "recipes" / "inventory.py").write_text(INVENTORY.format(hosts=hosts))
    (root / "recipes" / "deploy.py").write_text(DEPLOY.format(recipes=str(root / "recipes")))


def digest(root: Path, stack: str, instance: str) -> str:
    """What the recipe left behind on one host: names, modes, owners and contents."""
    script = "cd /srv/bench && find . | sort | xargs stat -c '%n %A %U %G' && find . -type f | sort | xargs sha256sum"
    command = opsflow("exec", stack, "--only", instance, "--", script)
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.replace(f"[{instance}]", "")


def measure(root: Path, hosts: int, rounds: int) -> dict[str, dict[str, list[tuple[float, float]]]]:
    commands = {
        "opsflow": (opsflow("run", "ours", "twelve.setup", "-y"), root),
        "pyinfra": (
            [str(SCRIPTS / "pyinfra"), "--parallel", str(hosts), "-y", "inventory.py", "deploy.py"],
            root / "recipes",
        ),
    }
    figures: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for phase, times in (("first", 1), ("converged", rounds)):
        for _ in range(times):
            for tool, (command, directory) in commands.items():
                figures.setdefault(phase, {}).setdefault(tool, []).append(run(command, directory))
    if digest(root, "ours", "ours1").split() != digest(root, "theirs", "theirs1").split():
        raise SystemExit("the two tools did not leave the same files behind")
    return figures


def table(figures: dict[str, dict[str, list[tuple[float, float]]]]) -> str:
    lines = ["| run | tool | wall s | CPU s | wall, opsflow = 1 |", "|---|---|---|---|---|"]
    for phase, tools in figures.items():
        base = statistics.median(wall for wall, _ in tools["opsflow"])
        for tool, values in tools.items():
            wall, cpu = (statistics.median(value[i] for value in values) for i in (0, 1))
            lines.append(f"| {phase} | {tool} | {wall:.2f} | {cpu:.2f} | {wall / base:.1f} |")
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hosts", type=int, default=20)
    options.add_argument("--rounds", type=int, default=3, help="converged runs of each tool")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="opsflow-bench-") as directory:
        root = Path(directory)
        project(root, given.hosts)
        try:
            for stack in ("ours", "theirs"):
                run(opsflow("up", stack, "-y"), root)
            pyinfra_files(root)
            figures = measure(root, given.hosts, given.rounds)
        finally:
            for stack in ("ours", "theirs"):
                run(opsflow("destroy", stack, "-y"), root)
    about = {
        "hosts": given.hosts,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("opsflow", "pyinfra", "paramiko")},
    }
    text = table(figures)
    print(
        f"12-step recipe, {given.hosts} hosts, {os.cpu_count()} cores, median of {given.rounds} converged runs\n\n"
        f"{text}"
    )
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "compare.json").write_text(json.dumps({"about": about, "figures": figures}, indent=1) + "\n")
    (results / "compare.md").write_text(f"{json.dumps(about)}\n\n{text}\n")


if __name__ == "__main__":
    main()
