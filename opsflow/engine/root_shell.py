"""One shell of root for all that a script does as root, where each fact and command would start sudo anew.

sudo takes a host about as long as a dozen programs do. The shell is started once a run; it reads the number of a
process, opens the descriptors 5, 6 and 8 of that process as its own 0, 1 and 2 (which shells use for something else
now and then), and runs there what it is told. Only root may open them, so this is for plain `sudo`; other users, and
other ways to become somebody, are asked for each time, and so is root where it does not work: on a host without /proc,
or where even root may not look at other processes.

Each text runs in a subshell, so nothing of one is left for the next. The shell ends with ours, and is ended with a
command that takes too long; then sudo is used as if there were none.
"""

from __future__ import annotations

import re
import shlex

from opsflow.engine import put

SUDO = "sudo -H -n sh -c"
READER = 'eval "$(cat)"'
OWN_PROCESS = ("$$", "PPID", "BASHPID")
"""Texts that mention these mean the shell that is started for them."""

_READ = re.compile(
    rf"{re.escape(f'{SUDO} {shlex.quote(READER)}')} <<'(?P<mark>_OPSFLOW_[0-9a-f]{{12}}_)'\n(?P<text>.*)\n(?P=mark)",
    re.DOTALL,
)

LOOP = """echo ready
while read -r p; do
  if { :; } <"/proc/$p/fd/5" >>"/proc/$p/fd/6" 2>>"/proc/$p/fd/8"; then
    (eval "set --; unset p
$(cat "$1/t")") <"/proc/$p/fd/5" >>"/proc/$p/fd/6" 2>>"/proc/$p/fd/8"
    echo $?
  else
    cat "$1/t" >/dev/null
    echo no
  fi
done"""
"""What the shell of root runs; `$1` is the directory with the FIFO of the texts."""

SHELL = rf"""
_root() {{
  case "$_ap" in '') ;; no) return ;; *) ! _alive "$_ap" || return 0 ;; esac
  _need
  _ap=no
  rm -f "$_D/q" "$_D/t" "$_D/r"
  mkfifo "$_D/q" "$_D/t" "$_D/r" || return 0
  exec 7<>"$_D/q" 8<>"$_D/r" 9<"$_D/r"
  {SUDO} {shlex.quote(LOOP)} sh "$_D" <"$_D/q" >&8 2>/dev/null 3>&- 4>&- 7>&- 8>&- 9<&- & _ap=$!
  exec 8>&-
  _ar=; read -r _ar <&9
  if [ "$_ar" = ready ] && [ "$(_ask 'echo yes' </dev/null; echo "$_ar")" = "yes
0" ]; then return; fi
  _unroot no
}}
_unroot() {{
  _ap=$1
  exec 7>&- 9<&-
}}
_ask() {{
  _ar=no
  _alive "$_ap" || return 0
  read -r _ai _ </proc/self/stat
  exec 5</proc/self/fd/0 6>&1 8>&2 # not 5<&0: bash, which reads its script there, ends a subshell that does
  echo "$_ai" >&7
  printf '%s\n' "$1" >"$_D/t"
  read -r _ar <&9
  exec 5<&- 6>&- 8>&-
}}
_alive() {{
  {{ read -r _l <"/proc/$1/stat"; }} 2>/dev/null || return 1
  case "${{_l##*) }}" in Z* | X*) return 1 ;; esac
}}
_as() {{
  case "$_ap" in '' | no) ;; *)
    _ask "$1"
    case "$_ar" in
    no) ;; # it did not begin
    *) return "${{_ar:-137}}" ;; # without an answer it was ended in the middle
    esac ;;
  esac
  if [ -n "$2" ]; then {SUDO} "$1"
  else
    {SUDO} {shlex.quote(READER)} <<_END_
$1
_END_
  fi
}}
"""
"""`_root` starts the shell, `_as TEXT` runs a text there or by sudo, `_as TEXT file` one that reads standard input."""


def through(script: str) -> str:
    """The same text, but run by the shell of root if it is for root; everything else is as it was.

    Only for an upload the text is an argument of sudo: it has no secrets in it, they are in its standard input.
    """
    match = _READ.fullmatch(script)
    if match is not None:
        text = match["text"]
        return script if any(word in text for word in OWN_PROCESS) else f"_as {shlex.quote(text)}"
    if script.startswith(f"{SUDO} "):
        text = _word(script.removeprefix(f"{SUDO} "))
        if put.recognised(text):
            return f"_as {shlex.quote(text)} file"
    return script


def goes_through(script: str) -> bool:
    """Whether it is a text of :func:`through` for the shell of root."""
    return script.startswith("_as ")


def _word(text: str) -> str:
    """What one quoted word of shell text means; empty when it is something else."""
    try:
        words = shlex.split(text)
    except ValueError:
        return ""
    return words[0] if len(words) == 1 and shlex.quote(words[0]) == text else ""
