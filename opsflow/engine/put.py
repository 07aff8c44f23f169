"""Shell text that writes a file as a whole, with as few processes as that can be done with."""

from __future__ import annotations

import itertools
import shlex

_HEAD = r"""
case "$1" in /*) d=$1 ;; *) d=$PWD/$1 ;; esac
if [ -L "$d" ]; then d=$(readlink -f -- "$d") || exit 1; fi
if [ -d "$d" ]; then printf '%s: is a directory\n' "$d" >&2; exit 1; fi
if [ -e "$d" ]; then
  if [ ! -f "$d" ]; then exec cat >"$d"; fi
  if [ "$(stat -c %h "$d" 2>/dev/null || echo 2)" != 1 ]; then exec cat >"$d"; fi
  if [ ! -O "$d" ] && [ "$(id -u)" != 0 ]; then exec cat >"$d"; fi
fi
if [ ! -w "${d%/*}/" ]; then exec cat >"$d"; fi
if [ -e "$d" ]; then
  t=$(umask 077; mktemp "${d%/*}/.opsflow.XXXXXX") || exit 1
  cp -p -- "$d" "$t" || { rm -f "$t"; exit 1; }
else
"""
_ALONE = """  umask 077
"""
_MIDDLE = r"""  t="${d%/*}/.opsflow.$$"; set -C
  if [ -k "${d%/*}/" ] || ! true 2>/dev/null >"$t"; then # in a sticky one others could have made it, as a FIFO
    t=$(umask 077; mktemp "${d%/*}/.opsflow.XXXXXX") || exit 1
    chmod "$(printf %o $((0666 & ~0$(umask))))" "$t" || { rm -f "$t"; exit 1; }
  fi
  set +C
fi
cat >"$t" || { rm -f "$t"; exit 1; }
"""
_DURABLE = """sync "$t" 2>/dev/null
"""
_TAIL = r"""mv -f -- "$t" "$d" 2>/dev/null && exit 0
cat <"$t" >"$d"; r=$?; rm -f "$t"; exit "$r"
"""
_NOT_THROUGH = r"""
if [ -L "$1" ] && [ ! -e "$1" ]; then printf 'not writing through dangling symlink %s\n' "$1" >&2; exit 1; fi"""


def text(dest: str, *, through_links: bool = True, private: bool = False, durable: bool = False) -> str:
    """Write standard input to ``dest`` at once or not at all, keeping the mode and owner of a file that exists.

    Where a rename would change more than the content (hard links, devices, somebody else's file) or cannot be done
    (mount points, as /etc/hosts in a container), it writes in place. A new file is made under its temporary name by
    the shell itself, so it has the umask's mode; a ``private`` one is its owner's alone. With ``durable`` it is on the
    disk before it gets its name, where the host's ``sync`` can do that for one file. Without ``through_links`` it
    refuses to make what a dangling link points at: as another user pyinfra uploads with cp, which does that; SFTP does
    not.
    """
    return f"set -- {shlex.quote(dest)}{_body(through_links, private, durable)}"


def recognised(script: str) -> bool:
    """Whether it is such a text and nothing else."""
    _, line, rest = script.partition("\n")
    return script.startswith("set -- ") and line + rest in _BODIES


def _body(through_links: bool, private: bool, durable: bool) -> str:
    parts = ("" if through_links else _NOT_THROUGH, _HEAD, _ALONE * private, _MIDDLE, _DURABLE * durable, _TAIL)
    return "".join(parts)


_BODIES = frozenset(_body(*each) for each in itertools.product((True, False), repeat=3))
