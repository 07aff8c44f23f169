"""Shell texts that print several files of a host with one process, where pyinfra starts one for each file.

Names that shells and programs could take for something else, and files that are no plain files, go pyinfra's own way.
"""

from __future__ import annotations


def distribution(original: str) -> str:
    """Print name and content of each release file, as ``original`` does but without the empty ones.

    `awk` ends a last line that has no end, and pyinfra strips what it reads.
    """
    program = 'FNR == 1 { if (NR > 1) print "---"; print FILENAME } { print } END { if (NR) print "---" }'
    return _over("/etc/*-release", program, original)


def sources(original: str) -> str:
    """Print a marker and the content of each file of apt's sources, as ``original`` does but without the empty ones."""
    program = 'FNR == 1 { if (NR > 1) print ""; print "##PYINFRA_FILE " FILENAME } { print } END { if (NR) print "" }'
    lists = "/etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources"
    return _over(lists, program, original)


def _over(patterns: str, program: str, original: str) -> str:
    """Run an awk program over the files that there are; with one that is out of the ordinary, ``original``.

    A name that is a pattern itself, or text in another encoding than ASCII, is out of the ordinary.
    """
    return f"""if set -- && for f in {patterns}; do
  case $f in *[!A-Za-z0-9._/+@-]*) ! test -e "$f" || break ;; esac
  if test -f "$f"; then test -r "$f" || break; set -- "$@" "$f"
  elif test -e "$f"; then test -d "$f" || break; fi
  f=
done; test -z "$f"; then test $# = 0 || LC_ALL=C awk '{program}' "$@"
else {original}
fi"""


def services(original: str) -> str:
    """Ask each service script how it is, as ``original`` does, but find out with one process which ones can say so."""
    return f"""if for f in /etc/init.d/*; do
  case $f in *[!A-Za-z0-9._/+@-]*) ! test -e "$f" || break ;; esac
  f=
done; test -z "$f"; then
  for SERVICE in `grep -l -e "### BEGIN INIT INFO" /etc/init.d/* 2> /dev/null`; do
    SERVICE=${{SERVICE##*/}}
    STATUS=`/etc/init.d/$SERVICE status`
    echo "$SERVICE=$?"
  done
else {original}
fi"""
