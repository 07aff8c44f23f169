"""The run record on a host, as shell functions: what a shell without a connection did is read back, not guessed.

A file for each command of the controller, in a directory that only our user can use. One line for each shell that
works on it (``s PID START BOOT PUMP PUMP DIRECTORY RUN COMMAND MOMENT``), one before each command
(``b NUMBER OPERATION MARK UPTIME``) and one after it (``e NUMBER CODE``, or ``n NUMBER`` when it was not begun after
all). No process is started for writing it. On a full disk it moves to the next directory; where no directory takes it,
the shell says ``n`` and goes on without. Only the newest are kept.
"""

from __future__ import annotations

import shlex

RECORD = r"""
_mine() { [ -d "$1" ] && [ -O "$1" ] && [ ! -L "$1" ]; }
_place() {
  [ -d "$1" ] && [ -w "$1" ] || return 1
  _J="$1/opsflow-$_u/$_jk"
  if ! _mine "${_J%/*}"; then (umask 077; mkdir "${_J%/*}") && _mine "${_J%/*}" || return 1; fi
  (umask 077; : >>"$_J") || return 1
  set -- "${_J%/*}"/*
  [ $# -le 64 ] || (cd "${_J%/*}" && ls -t | tail -n +25 | while read -r _l; do rm -f "$_l"; done)
}
_note() { [ -z "$_J" ] || printf '%s\n' "$1" >>"$_J" || _spill "$1"; }
_spill() {
  _jl=$_J _jf=
  for _d in /run /dev/shm /tmp /var/tmp "$HOME"; do
    if [ -z "$_jf" ]; then
      case "$_jl" in "$_d/opsflow-"*) _jf=1 ;; esac
    elif _place "$_d" && { cat "$_jl"; printf '\n%s\n' "$1"; } >"$_J"; then
      rm -f "$_jl"
      return
    fi
  done
  _J=
  _m n "$_jl"
}
_keep() {
  true >"$_D/stop"
  exec >/dev/null
  [ -z "$_J" ] || (umask 077; tail -c 1000000 >"${_J%/*}/$$.$1")
  cat
}
_begin() {
  _need
  _jn=1
  if [ -n "$_jk" ]; then
    for _d in /run /dev/shm /tmp /var/tmp "$HOME"; do
      _J="$_d/opsflow-$_u/$_jk"
      if _mine "${_J%/*}" && [ -f "$_J" ] && [ ! -L "$_J" ]; then break; fi
      _J=
    done
    [ -z "$_J" ] || [ -z "$_jx" ] || true >"$_J"
    _jx=
    if [ -z "$_J" ]; then for _d in /run /dev/shm /tmp /var/tmp "$HOME"; do _place "$_d" && break; _J=; done; fi
  fi
  if [ -z "$_jo" ]; then
    [ ! -e "${_J%/*}/$$.o" ] || rm -f "${_J%/*}/$$.o" "${_J%/*}/$$.e"
    { trap '' PIPE TERM; cat || _keep o; } <"$_D/O" >&3 3>&- 4>&- 7>&- 9<&- & _jo=$!
    { trap '' PIPE TERM; cat || _keep e; } <"$_D/E" >&4 3>&- 4>&- 7>&- 9<&- & _je=$!
    exec 3>"$_D/O" 4>"$_D/E"
  fi
  _begun
}
_begun() {
  _jb=-
  read -r _jb </proc/sys/kernel/random/boot_id
  read -r _l <"/proc/$$/stat"; _l=${_l##*) }; set -- $_l
  _note "s $$ ${20} $_jb $_jo $_je $_D $_jh"
}
"""
"""Part of the prelude. ``_jk`` is the name of the record, ``_jh`` the last words of its ``s`` lines; with ``_jx``
nothing that is there already has to do with it."""

ATTEND = r"""
_lives() (
  read -r _l <"/proc/$1/stat" || exit 1
  _l=${_l##*) }; _i=$2; set -- $_l
  case "$1" in Z | X) exit 1 ;; esac
  [ "${20}" = "$_i" ]
)
_attend() {
  _u=$(id -u); _jk=$1; _jw=$2; _lh=
  for _d in /run /dev/shm /tmp /var/tmp "$HOME"; do
    if _mine "$_d/opsflow-$_u.lock" && read -r _lp _ls _le _lo _lr <"$_d/opsflow-$_u.lock/by" &&
      [ "$_lo" = "$3" ] && [ "$_le" -le "$4" ] && _lives "$_lp" "$_ls"; then
      true >"$_d/opsflow-$_u.lock/stop" && _lh=$_lp
    fi
  done
  _js=; _records
  _y=$?
  [ -z "$_lh" ] || [ "$_lh" = "$_js" ] || _end "$_lh" "" >/dev/null
  return "$_y"
}
_records() {
  set --
  for _d in /run /dev/shm /tmp /var/tmp "$HOME"; do
    _J="$_d/opsflow-$_u/$_jk"
    if _mine "${_J%/*}" && [ -f "$_J" ] && [ ! -L "$_J" ]; then set -- "$@" "$_J"; fi
  done
  [ $# -gt 0 ] || return 1
  read -r _jb </proc/sys/kernel/random/boot_id
  read -r _ju _ </proc/uptime; _jl=$((${_ju%%.*} + _jw)); _ji=$((${_ju%%.*} + 2)); _jf=
  while :; do
    _js=; _jr=
    while read -r _k _l; do
      case "$_k" in s) _js=$_l; _jr= ;; b) _jr=1 ;; e | n) _jr= ;; esac
    done <<_END_
$(cat "$@")
_END_
    read -r _js _jt _jc _jo _je _jd _ <<_END_
$_js
_END_
    read -r _ju _ </proc/uptime; _ju=${_ju%%.*}
    if [ "$_jc" != "$_jb" ] || ! _lives "$_js" "$_jt"; then
      if [ "$_jc" = "$_jb" ] && [ "$_ju" -lt "$_ji" ] && { kill -0 "$_jo" || kill -0 "$_je"; }; then
        sleep 0.1 || sleep 1
        continue
      fi
      case "$_jd" in */opsflow.*) rm -rf "$_jd" ;; esac
      _jr=over
      break
    fi
    [ -n "$_jf" ] || { _jf=1; [ -e "$_jd/stop" ] || _sever; }
    if [ -n "$_jr" ]; then
      _ji=$((_ju + 2))
      [ "$_ju" -lt "$_jl" ] || { _jr=running; break; }
    elif [ "$_ju" -gt "$_ji" ]; then _end "$_js" ""; _ji=$((_ju + 2))
    fi
    sleep 0.2 || sleep 1
  done
  read -r _ju _ </proc/uptime
  echo "$_jr $_js $_ju"
  cat "$@"
}
_sever() {
  true >"$_jd/stop"
  _not=" "
  for _p in $(_tree "$_jo") $(_tree "$_je"); do
    case "${_p%:*}" in "$_jo" | "$_je") ;; *) kill -9 "${_p%:*}" ;; esac
  done
}
_rest() {
  _u=$(id -u)
  for _d in /run /dev/shm /tmp /var/tmp "$HOME"; do
    _J="$_d/opsflow-$_u/$1"
    if _mine "${_J%/*}" && [ -f "$_J" ] && [ ! -L "$_J" ]; then cat "$_J"; fi
  done
}
"""
"""For another shell, when the one that writes the record has lost its connection.

The order of writing makes it certain that nothing runs twice: the one writes ``b`` and then looks for the file
``stop``, beside its FIFOs and in its lock, the other makes that file and then reads. Before its first command a shell
has no record, but it has the lock.
"""


def attend(name: str, seconds: int, owner: str, epoch: int) -> str:
    """A fact: let the shell that writes the record begin nothing more, and wait for its command, at most so long.

    The shell that has the owner's lock, of this epoch or an older one, is ended when it is another one: it has begun
    nothing yet, and does not any more. It prints ``running PID UPTIME`` or ``over PID UPTIME``, then the record; its
    exit code is 1 when there is none.
    """
    return f"{ATTEND}_attend {shlex.quote(name)} {seconds} {shlex.quote(owner)} {epoch}"


def rest(pid: int, stream: str) -> str:
    """A fact: the end of the output that a shell could not send any more; ``stream`` is "o" or "e"."""
    return f"{ATTEND}_rest {pid}.{stream}"
