"""The state of the hosts: what the recipe may touch, put back before each first run, and compared after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.masters import on_all

ACCOUNTS = "/etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/subuid /etc/subgid"
KEPT = "/var/lib/bench-pristine"

SAVE = f"""
umask 077; mkdir -p {KEPT}
for file in {ACCOUNTS}; do if [ -e $file ]; then cp -p $file {KEPT}/; fi; done
"""

RESTORE = f"""
rm -rf /srv/bench /var/mail/bench /root/.ansible
for file in {ACCOUNTS}; do
    if [ -e {KEPT}/${{file##*/}} ]; then cp -p {KEPT}/${{file##*/}} $file; else rm -f $file; fi
    rm -f $file-
done
"""

CONTENTS = """
LC_ALL=C; export LC_ALL
cd /srv/bench || { echo 'no /srv/bench'; exit 0; }
find . | sort | xargs stat -c '%n %F %a %U:%G %s'
find . -type f | sort | xargs sha256sum
getent passwd bench; getent group bench; id bench; getent shadow bench | cut -d: -f1,2
grep bench /etc/subuid /etc/subgid | cut -d: -f1,2 || :
ls -ld /var/mail/bench 2>&1 || :
"""
"""Names, types, modes, owners, sizes and bytes of all files, and the user as every database has it."""

TIMES = "[ ! -d /srv/bench ] || find /srv/bench -printf '%p %i %T@\\n' | sort"
"""Inodes and times: a converged run must leave also these alone."""


class HostState:
    """Puts hosts back and compares them, over connections that are open already."""

    def __init__(self, config: Path, measured: Sequence[str], spare: str) -> None:
        self._config = config
        self._measured = measured
        self._everyone = [*measured, spare]

    def save(self) -> None:
        """Remember the pristine state, on the hosts."""
        on_all(self._config, self._everyone, SAVE)

    def restore(self) -> None:
        on_all(self._config, self._everyone, RESTORE)

    def after(self, script: str) -> dict[str, str]:
        """What is on pristine hosts when a script has run there."""
        self.restore()
        on_all(self._config, self._measured, script)
        return self.contents()

    def contents(self) -> dict[str, str]:
        return on_all(self._config, self._measured, CONTENTS)

    def times(self) -> dict[str, str]:
        return on_all(self._config, self._measured, TIMES)


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """One line for each line that a host has and should not have, or should have and has not."""
    lines = []
    for name, text in found.items():
        wanted, have = expected[name].splitlines(), text.splitlines()
        lines += [f"{name}: has {line}" for line in have if line not in wanted]
        lines += [f"{name}: lacks {line}" for line in wanted if line not in have]
    return lines
