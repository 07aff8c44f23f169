"""The peers' own environment: bench/.venv, made from bench/requirements.txt."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
PIP = ("-m", "pip", "--disable-pip-version-check")


@dataclass(frozen=True)
class Environment:
    """Where the peers' programs are, and which of them could not be installed."""

    directory: Path
    problems: dict[str, str]

    def program(self, name: str) -> str:
        return str(self.directory / "bin" / name)

    @property
    def python(self) -> str:
        return self.program("python")

    @cached_property
    def packages(self) -> dict[str, str]:
        """Installed packages and their versions."""
        done = subprocess.run(
            [self.python, *PIP, "list", "--format", "json"], check=True, capture_output=True, text=True
        )
        return {item["name"]: item["version"] for item in json.loads(done.stdout)}

    def missing(self, *packages: str) -> str:
        """Why a peer that needs these packages cannot run; empty when it can."""
        return "; ".join(
            f"{name} could not be installed: {self.problems[name]}" for name in packages if name in self.problems
        )

    @property
    def site_packages(self) -> Path:
        return next((self.directory / "lib").glob("python3*/site-packages"))


def opsflow() -> str:
    """The opsflow program of the environment that this benchmark runs in."""
    return str(Path(sys.executable).with_name("opsflow"))


def make(directory: Path = HERE / ".venv") -> Environment:
    """Install what is not there yet; a package that cannot be had is a problem of its peers alone."""
    pinned = pins(REQUIREMENTS.read_text())
    if not (directory / "bin/python").exists():
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    have = Environment(directory, {}).packages
    wanted = {name: f"{name}=={number}" for name, number in pinned.items() if have.get(name) != number}
    if not wanted or not (reason := install(directory, *wanted.values())):
        return Environment(directory, {})
    if len(wanted) == 1:
        return Environment(directory, dict.fromkeys(wanted, reason))
    problems = {name: reason for name, one in wanted.items() if (reason := install(directory, one))}
    return Environment(directory, problems)


def install(directory: Path, *packages: str) -> str:
    """Install packages; returns why that failed, or nothing."""
    print(f"bench: installing {' '.join(packages)} into {directory.name}", file=sys.stderr)
    done = subprocess.run(
        [str(directory / "bin/python"), *PIP, "--quiet", "--no-input", "install", *packages],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"pip exited with {done.returncode}")


def pins(text: str) -> dict[str, str]:
    """Package names and versions of a requirements file in which everything is pinned."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return dict(line.split("==", 1) for line in lines if line)


def versions(peers: Environment) -> dict[str, str]:
    """The versions of everything that has a say in the figures."""
    ssh = subprocess.run(["ssh", "-V"], check=True, capture_output=True, text=True).stderr.strip()
    ours = {name: version(name) for name in ("opsflow", "pyinfra", "paramiko", "cryptography")}
    theirs = {name: peers.packages.get(name, "none") for name in pins(REQUIREMENTS.read_text())}
    return {
        "opsflow": f"{ours.pop('opsflow')} ({commit()})",
        **{f"{name} in opsflow": number for name, number in ours.items()},
        **theirs,
        "OpenSSH": ssh,
        "Python": platform.python_version(),
        "Linux": platform.release(),
    }


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True)
    return done.stdout.strip() or "no git"
