"""Compare opsflow with pyinfra at length, and write docs/differential.md: differential.py [N random programs].

The random programs come from a seed that is printed; the same seed gives the same programs.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys

from differential_report import ROOT, TESTS, read, report

OUTPUT = ROOT / "build" / "differential"
PAGE = ROOT / "docs" / "differential.md"
FILES = ("test_same_as_pyinfra.py", "test_same_everywhere.py", "test_same_random_programs.py")


def main(arguments: list[str]) -> int:
    """Run the suite; the page is written when there is no difference."""
    count = int(arguments[0]) if arguments else 100
    seed = os.environ.get("SEED") or str(secrets.randbelow(1 << 32))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    record = OUTPUT / "comparisons.jsonl"
    record.unlink(missing_ok=True)
    print(
        f"differential: {count} random programs, seed {seed} (again: make differential N={count} SEED={seed})",
        flush=True,
    )
    more = {
        "OPSFLOW_DIFFERENTIAL": str(count),
        "OPSFLOW_DIFFERENTIAL_INTERRUPTIONS": "2",
        "OPSFLOW_DIFFERENTIAL_RECORD": str(record),
        "HYPOTHESIS_PROFILE": "dev",
    }
    tests = [str(TESTS / name) for name in FILES]
    options = ["-q", "-n", "3", "--dist", "loadfile", f"--hypothesis-seed={seed}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests], cwd=ROOT, env={**os.environ, **more}, check=False
    )
    if done.returncode != 0:
        print(f"differential: there are differences, so {PAGE.relative_to(ROOT)} stays as it was", file=sys.stderr)
        return done.returncode
    page, data = report(read(record), f"make differential N={count}")
    PAGE.write_text(page, encoding="utf-8")
    (OUTPUT / "report.json").write_text(json.dumps({"seed": seed, **data}, indent=1), encoding="utf-8")
    missing = [name for name, row in data["operations"].items() if row["how"] == "missing"]
    print(f"differential: written: {PAGE.relative_to(ROOT)} and {OUTPUT.relative_to(ROOT)}/report.json")
    if missing:
        print(f"differential: operations without a case: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
