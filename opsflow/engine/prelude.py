"""The text that the persistent POSIX ``sh`` on a host is told first: frames, facts, commands, lock, process handling.

Works with dash, bash and busybox sh. Descriptors 3 and 4 are the channel's standard output and error; frames go there.
Output of a command (``_x``) goes through a FIFO and a ``cat``, so that a background process which keeps the descriptors
can neither hang the run nor print into a later command: its ``cat`` is ended and the FIFOs are made anew. A command
that certainly leaves nothing behind (``_y``, see ``tame``) does without. Starting a process is what takes time on a
host: whatever runs for each fact or command is done by the shell itself where it can. What is printed at once is one
packet.

From the first command on, two pumps stand between the descriptors 3 and 4 and the channel. When the connection is lost,
a running command is not harmed: its pump keeps the end of the output beside the run record (see ``host_record``) and
makes the file ``stop``, with which the shell begins no further command.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence

from opsflow.engine.host_record import RECORD

PROC = r"""
_start() { read -r _l <"/proc/$1/stat" || return 1; _l=${_l##*) }; set -- $_l; echo "${20}"; }
_tree() {
  _all=$(for _f in /proc/[0-9]*/stat; do
    read -r _l <"$_f" || continue
    _i=${_l%% *}; _l=${_l##*) }; set -- $_l; echo "$_i $1 $2 $4 ${20}"
  done)
  _found=" $1 "; _more=1
  for _i in $4; do _found="$_found${_i%:*} "; done
  while [ -n "$_more" ]; do
    _more=
    while read -r _i _st _pp _ss _at; do
      case "$_found" in *" $_i "*) continue ;; esac
      case "$_not" in *" $_pp "*) continue ;; esac
      case "$_found" in
      *" $_pp "*) ;;
      *) [ -n "$2" ] && [ "$_ss" = "$1" ] || continue
        [ "$_at" -gt "$3" ] || { [ "$_at" = "$3" ] && [ "$_i" -gt "$2" ]; } || continue ;;
      esac
      _found="$_found$_i "; _more=1
    done <<_END_
$_all
_END_
  done
  while read -r _i _st _pp _ss _at; do
    case "$_st$_found" in Z* | X*) ;; *" $_i "*) echo "$_i:$_at" ;; esac
  done <<_END_
$_all
_END_
}
_signal() { kill "-$1" "$2" 2>/dev/null || sudo -n kill "-$1" "$2" 2>/dev/null; }
_end() {
  case "$1" in '' | 0 | 1 | *[!0-9]*) return 1 ;; esac
  _keep=" $2 "; _not=" "; _at=; _known=
  for _one in $2; do [ "$_one" = "$1" ] || _not="$_not$_one "; done
  [ -z "$3" ] || _at=$(_start "$3") || _at=0
  for _sig in TERM TERM TERM KILL KILL KILL; do
    _left=
    for _one in $(_tree "$1" "$3" "$_at" "$_known"); do
      case "$_keep" in *" ${_one%:*} "*) continue ;; esac
      _left="$_left $_one"
      case "$_sig:${_one%:*}" in "TERM:$1") _signal HUP "$1" ;; *) _signal "$_sig" "${_one%:*}" ;; esac
    done 2>/dev/null
    [ -n "$_left" ] || return 0
    _known=
    for _one in $_left; do
      [ "$(_start "${_one%:*}")" != "${_one#*:}" ] || _known="$_known $_one"
    done 2>/dev/null
    sleep 0.3 2>/dev/null || sleep 1
  done
  return 1
}
"""
"""Process handling by /proc alone: ps is not everywhere, and busybox's has no parent column."""

PRELUDE = r"""
unset CDPATH ENV
exec 3>&1 4>&2 2>/dev/null
_m() { printf '\036%s %s\036' "$_N" "$*" >&3; }
_e() { printf '\036%s %s\036' "$_N" "$*" >&4; }
_D= _S=
_leftovers() {
  for _i in "$1"/opsflow.????????; do
    [ -O "$_i" ] && [ ! -L "$_i" ] && read -r _n <"$_i/by" && [ ! -d "/proc/$_n" ] && rm -rf "$_i"
  done
}
_need() {
  [ -z "$_D" ] || return 0
  for _d in /run /dev/shm /tmp /var/tmp "$HOME"; do
    [ -d "$_d" ] && [ -w "$_d" ] || continue
    _leftovers "$_d"
    _D=$(umask 077; mktemp -d "$_d/opsflow.XXXXXXXX") || continue
    mkfifo "$_D/o" "$_D/e" "$_D/O" "$_D/E" && echo $$ >"$_D/by" && return
    rm -rf "$_D"; _D=
  done
  _m D none; _m d; _e d
  exit 1
}
_there() { [ -z "$_D" ] || [ -p "$_D/o" ] || _renew; }
_renew() {
  [ "$_S" != "$_D" ] || _S=
  _D= _jn= _jo=
  [ -z "$_ap" ] || _unroot ''
}
_stage() {
  _there
  [ -z "$_S" ] || [ ! -d "$_S" ] || { [ -n "$1" ] && [ "$_S" = "$_D" ]; } || return 0
  [ -n "$1" ] || { _need; _S=$_D; return; }
  for _d in /var/tmp /tmp; do
    [ -d "$_d" ] && [ -w "$_d" ] || continue
    _leftovers "$_d"
    _S=$(umask 077; mktemp -d "$_d/opsflow.XXXXXXXX") || continue
    ! echo $$ >"$_S/by" || return
    rm -rf "$_S"
  done
  _need
  _S=$_D
}
trap '[ -z "$_D$_S" ] || rm -rf "$_D" "$_S"; [ -z "$_L" ] || rm -rf "$_L"' 0
trap 'exit 141' PIPE
trap 'exit 143' HUP TERM
_L= _u=
_lock() {
  [ -z "$_D" ] || [ -p "$_D/o" ] || { _m D gone; return 1; }
  [ -n "$_u" ] || { _u=$(id -u); _lm=$(_start $$); }
  for _d in /run /dev/shm /tmp /var/tmp "$HOME"; do
    [ -d "$_d" ] && [ -w "$_d" ] || continue
    _take "$_d/opsflow-$_u.lock" "$@"; _y=$?
    [ "$_y" = 2 ] || return "$_y"
  done
  _m l none
  return 1
}
_take() {
  _t=0
  while ! (umask 077; mkdir "$1"); do
    [ -d "$1" ] || return 2
    if [ -L "$1" ] || [ ! -O "$1" ]; then _m l held another-user -; return 1; fi
    _lp=; _ls=; _le=0; _lo=-; _lr=-
    read -r _lp _ls _le _lo _lr <"$1/by"
    if [ -n "$_lp" ] && [ "$(_start "$_lp")" = "$_ls" ]; then
      if [ "$_lo" = "$2" ] && [ "$_le" -lt "$3" ]; then _end "$_lp"; _drop "$1"; continue; fi
      [ "$_t" -lt 5 ] || { _m l held "$_lo" "$_lr"; return 1; }
      sleep 1
    elif [ -n "$_lp" ] || [ "$_t" -gt 1 ]; then _drop "$1"
    else sleep 1; fi
    _t=$((_t + 1))
    [ "$_t" -lt 12 ] || { _m l held "$_lo" "$_lr"; return 1; }
  done
  printf '%s %s %s %s %s\n' $$ "$_lm" "$3" "$2" "$4" >"$1/by" || { rm -rf "$1"; return 2; }
  _L=$1
  _m l ok
}
_drop() {
  mv "$1" "$1.$$" || return 0
  _np=; read -r _np _ <"$1.$$/by"
  if [ "$_np" = "$_lp" ]; then rm -rf "$1.$$"; else mv "$1.$$" "$1"; fi
}
_bare() {
  case "$1" in "_as "*) ;; *) exec 7>&- 9<&- ;; esac
  unset _N _L _S _J _d _f _h _i _l _m _n _p _q _t _u _v _w _x _y _z _jk _jh _jx
}
_restage() {
  _there
  _S=; _stage
  _files || { _stage apart; _files; }
}
_read() {
  _there
  [ -n "$_D" ] || _need
  eval "_c=\$_c$1"
  _o=$(exec 3>&- 4>&- 2>"$_D/x" </dev/null; _bare "$_c"; eval "$_c"; _r=$?; printf %s "$_K"; exit $_r); _r=$?
  case "$_o" in
  *"$_K") _o=${_o%"$_K"} ;;
  *) # It has ended the shell that it ran in; once more, in one of its own.
    _o=$( (_bare "$_c"; eval "$_c") 3>&- 4>&- 2>"$_D/x" </dev/null; _r=$?; echo .; exit $_r); _r=$?
    _o=${_o%.} ;;
  esac
}
_g() {
  [ "$1" != "$_h" ] || return 0
  _read "$1"
  _tell "$1"
}
_tell() {
  eval "_o$1=\$_o _r$1=\$_r"
  if [ "$_r" = 0 ] || [ ! -s "$_D/x" ]; then printf '%s\036%s f %s %s\036' "$_o" "$_N" "$1" "$_r" >&3
  else
    printf '%s\036%s f %s %s e\036' "$_o" "$_N" "$1" "$_r" >&3
    head -c 4000 "$_D/x" >&4; _e f "$1"
  fi
}
_w() {
  eval "_c=\$_c$1"
  _ww=$1 # a fact may set our arguments
  eval "$_c" >&3 2>/dev/null </dev/null 3>&- 4>&- 7>&- 9<&-
  _m w "$_ww" $?
}
_q() {
  _w=$1; shift; _a=$# _n=
  while [ "$_a" -gt 0 ]; do
    if [ -e "$2" ] || { [ -L "$2" ] && [ "$_w" != "${_w#stat}" ]; }; then set -- "$@" "$2"; _n="$_n $1"
    else eval "_o$1= _r$1=0"; _m f "$1" 0; fi
    shift 2; _a=$((_a - 2))
  done
  [ $# -gt 0 ] || return 0
  eval "$_w \"\$@\"" >&3 2>/dev/null </dev/null 3>&- 4>&- 7>&- 9<&-
  _m F $? $_n
}
_hide() {
  _z=$2
  case "$1:$_z" in
  stat:*" atime="*" mtime="*) _z="${_z%% atime=*} mtime=${_z#* mtime=}" ;;
  times:user=*" mode=d"*" atime="*" size="*) _z=${_z#* size=}; _z="${2%% atime=*} ${_z#* }" ;;
  times:user=*" atime="*" size="*) _z="${_z%% atime=*} size=${_z#* size=}" ;;
  esac
}
_k() {
  _read "$1"
  eval "_w=\$_o$1 _v=\$_r$1"
  _i=$_o
  if [ -n "$4" ]; then _hide "$4" "$_i"; _i=$_z; _hide "$4" "$_w"; _w=$_z; fi
  [ "$_r" = "$_v" ] && [ "$_i" = "$_w" ] && return 0
  _m m "$2" "$3"
  _tell "$1"
  _h=$1
  _R "$2"
  _h=
  return 1
}
_unlock() {
  [ -z "$_ap" ] || _unroot ''
  if [ -n "$_S" ]; then
    [ "$_S" = "$_D" ] || rm -rf "$_S" # what is beside the FIFOs is empty
  fi
  [ -z "$_L" ] || rm -rf "$_L"
  _L= _J= _jn= _S=
  _m u
}
_ready() {
  _there
  [ -n "$_jn" ] || _begin
  _in=$2
  [ -r "$_in" ] || _in=/dev/null # staged, and removed since; it will be noticed
  read -r _ju _ </proc/uptime
  _note "b $1 $3 $_ju"
  { [ ! -e "$_D/stop" ] && [ ! -e "${_L:-$_D}/stop" ]; } || { _note "n $1"; exit 142; }
}
_rest() {
  # Time for the pumps to notice that nobody listens any more, after what took long.
  read -r _jv _ </proc/uptime
  [ $((${_jv%%.*} - ${_ju%%.*})) -lt 2 ] || sleep 0.05
}
_x() {
  _ready "$@"
  (trap '' TERM; exec cat) <"$_D/o" >&3 7>&- 9<&- & _p=$!
  (trap '' TERM; exec cat) <"$_D/e" >&4 7>&- 9<&- & _q=$!
  exec 5>"$_D/o" 6>"$_D/e"
  _m s "$1" "$_p" "$_q" "$_jo" "$_je"; _e s "$1"
  trap : TERM # a command that ends its own process group means itself
  (exec >&5 2>&6 3>&- 4>&- 5>&- 6>&- <"$_in"
  [ -n "$_kr" ] || exec 7>&- 9<&-
  _s=$4; shift 4; eval "$_s")
  _r=$? _kr=
  trap 'exit 143' TERM
  exec 5>&- 6>&-
  _note "e $1 $_r"
  _m x "$1" "$_r"
  _rest
  [ ! -e "$_D/stop" ] || { (sleep 1; kill -9 "$_p" "$_q") 3>&- 4>&- & }
  wait "$_p"; _a=$?
  wait "$_q"; _b=$?
  [ "$_a$_b" = 00 ] || { rm -f "$_D/o" "$_D/e"; mkfifo "$_D/o" "$_D/e"; }
  _m c "$1" "$_r"; _e c "$1"
}
_y() {
  _ready "$@"
  _m s "$1" 0 0 "$_jo" "$_je"
  eval "$4" <"$_in" >&3 2>&4 3>&- 4>&- 7>&- 9<&-
  _r=$?
  _note "e $1 $_r"
  _rest
  _m c "$1" "$_r"; _e c "$1"
}
_kr= _ap= _h= _jk= _jh= _jx= _J= _jo= _jn=
_m h $$; _e h
"""


def prelude(nonce: str) -> str:
    """What a new shell is told first; it answers with ``h PID``, on the standard error with ``h``.

    Its directories are made when something needs them; ``D none`` means that none takes a FIFO, and that it ended.
    """
    return f"_N={nonce} _K={secrets.token_hex(8)}\n{PROC}{RECORD}{PRELUDE}"


def lock(owner: str, epoch: int, run: str, *, record: str = "", words: str = "", fresh: bool = False) -> str:
    """Take the host's lock: ``l ok``, ``l none`` (no directory takes it) or ``l held OWNER RUN``.

    A holder with the same owner and an older epoch is a leftover of a controller that is gone: it is ended.
    The shell ends when it does not get it. What is run under the lock is written into the run record of that name,
    which begins with these words.
    """
    named = f"_jk={shlex.quote(record)} _jh={shlex.quote(words)} _jx={'1' if fresh else ''}\n" if record else ""
    return f"{named}_lock {shlex.quote(owner)} {epoch} {shlex.quote(run)} || {{ {done().strip()}; exit 1; }}\n"


def unlock() -> str:
    """Give the lock back: ``u``."""
    return "_unlock\n"


def stage() -> str:
    """Make the directory for files that are sent apart: ``S DIRECTORY``."""
    return f'_stage apart; _m S "$_S"\n{done()}'


def end_processes(shell: int, *, whole: bool, relays: Sequence[int] = ()) -> str:
    """For a second channel: end what the shell runs (with ``whole``, the shell too) and verify that it is gone.

    That is all its descendants, and processes of its session without a parent there that began after the running
    command's relays; daemons that earlier commands left behind stay. Exit code 0: nothing of it is left.
    """
    kept = " ".join(str(pid) for pid in ([] if whole else [shell, *relays]) if pid)
    since = next(iter(relays), 0) or ""
    return f"{PROC}\n_end {shell} '{kept}' {since}"


def memory_of(pid: int, size: int) -> str:
    """For a second channel: exit code 1 when a process has more memory than so many bytes."""
    kib = size // 1024
    return (
        f'while read -r k v _; do [ "$k" != VmRSS: ] || [ "$v" -lt {kib} ] || exit 1; done </proc/{pid}/status; exit 0'
    )


def done() -> str:
    """Say on both streams that the script has ended."""
    return "_m d; _e d\n"
