"""Every command of the tutorial does what the tutorial says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.sandbox
def test_the_tutorial_can_be_followed_to_its_end() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "tutorial.py", "--check"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
