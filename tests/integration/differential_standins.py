"""Stand-ins for programs that this machine does not have: they answer questions and note what they are told to do.

What a stand-in is asked, it answers from a table: as a host where nothing is installed, or, once /srv/diff/full exists,
as one where `here` is installed, runs, or exists. Anything else it writes to /srv/diff/calls with all of its arguments,
so that both tools must have given the same commands in the same order. A command with `refuse` in it fails.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

Answer = tuple[str, str, str]
"""A shell pattern for the arguments, what an empty host says, and what a full one says."""

_RPM = ("*-qa*", "", "here 1.0-1\nother 2.0-1\n")
_PROVIDES = ("repoquery*", "here 1.0-1\n", "here 1.0-1\n")
_DOCKER_HERE = json.dumps(
    [{"Id": "1", "Name": "here", "State": {"Running": True, "Status": "running"}, "Config": {}, "Enabled": True}]
)
_GO = "go version go1.22 linux/amd64\n"
_TABLE = "*filter\n:INPUT DROP [0:0]\n:HERE - [0:0]\n"
_NO_TABLE = "*filter\n:INPUT ACCEPT [0:0]\n"
_UNIT = "Id=here.service\n%s\n"
_PG_ROLES = (
    "rolname|rolsuper|rolinherit|rolcreaterole|rolcreatedb|rolcanlogin|rolreplication|rolconnlimit\n"
    "here|f|t|f|f|t|f|-1\n(1 row)\n"
)
_PG_DATABASES = (
    "pg_encoding_to_char|oid|datname|encoding|datistemplate|datallowconn|owner\nUTF8|5|here|6|f|t|here\n(1 row)\n"
)
_UV_PYTHONS = json.dumps([{"key": "cpython-3.12.1", "version": "3.12.1"}])
_MYSQL_USERS = "Host\tUser\tSelect_priv\tplugin\nlocalhost\there\tY\tmysql_native_password\n"
_MYSQL_SCHEMATA = (
    "CATALOG_NAME\tSCHEMA_NAME\tDEFAULT_CHARACTER_SET_NAME\tDEFAULT_COLLATION_NAME\tSQL_PATH\n"
    "def\there\tutf8\tutf8_general_ci\tNULL\n"
)

PROGRAMS: Mapping[str, Sequence[Answer]] = {
    # Packages
    "apk": [("list --installed", "", "here-1.0-r0 x86_64 {here} (MIT) [installed]\n")],
    "brew": [
        ("--version", "Homebrew 4.2.1\n", "Homebrew 4.2.1\n"),
        ("list --versions", "", "here 1.0\n"),
        ("list --cask --versions", "", "here 1.0\n"),
        ("tap", "", "here/tap\n"),
        ("trust --json=v1", "{}\n", '{"taps": ["here/tap"]}\n'),
    ],
    "cargo": [("install --list", "", "here v1.0.0:\n    here\n")],
    "choco": [("list*", "", "here 1.0\n")],
    "dnf": [("module list --enabled", "", ""), ("module list --disabled", "", ""), _PROVIDES],
    "flatpak": [("list*", "Application ID\n", "Application ID\norg.here\n")],
    "gem": [("list --local", "", "here (1.0)\n")],
    "go": [("version*", _GO, _GO), ("env*", "/root/go\n", "/root/go\n")],
    "npm": [("list*", "/usr/lib\n", "/usr/lib\n└── here@1.0.0\n")],
    "opkg": [("list-installed", "", "here - 1.0\n")],
    "pacman": [("-Q", "", "here 1.0\n"), ("-S --print*", "", ""), ("*--print*", "", "")],
    "pipx": [("list --short", "", "here 1.0\n"), ("environment*", "PIPX_BIN_DIR=/opt/bin\n", "PIPX_BIN_DIR=/bin\n")],
    "pkg": [("info", "", "here-1.0 A thing\n"), ("info *", "", "here-1.0\n"), ("-j * info *", "", "here-1.0\n")],
    "pkg_info": [],
    "pkg_add": [],
    "pkg_delete": [],
    "pkgin": [("list", "", "here-1.0 A thing\n")],
    "rpm": [_RPM, ("*-q*", "", "here 1.0-1\n")],
    "snap": [
        ("list", "Name Version\n", "Name Version\nhere 1.0\n"),
        ("info here", "", "name: here\ntracking: latest/stable\ninstalled: 1.0\n"),
        ("info *", "", ""),
    ],
    "uv": [
        ("pip list*", "[]\n", '[{"name": "here", "version": "1.0"}]\n'),
        ("python list*", "[]\n", f"{_UV_PYTHONS}\n"),
        ("tool dir*", "/root/tools\n", "/root/tools\n"),
        ("tool list*", "", "here v1.0\n- here\n"),
    ],
    "xbps-query": [("-l", "", "ii here-1.0_1 A thing\n")],
    "xbps-install": [],
    "xbps-remove": [],
    "yum": [],
    "yum-config-manager": [],
    "zypper": [],
    # Services
    "initctl": [("list", "here stop/waiting\n", "here start/running, process 1\n")],
    "launchctl": [("list", "PID\tStatus\tLabel\n-\t0\there\n", "PID\tStatus\tLabel\n7\t0\there\n")],
    "rc-service": [],
    "rc-status": [("*", "  here  [ stopped ]\n", "  here  [ started ]\n")],
    "rc-update": [("show -v", "  here |      \n", "  here | default\n")],
    "sv": [("status *", "down: here: 1s\n", "run: here: (pid 7) 1s\n"), ("check *", "", "")],
    "systemctl": [
        ("show*SubState*", _UNIT % "SubState=dead", _UNIT % "SubState=running"),
        ("--user show*SubState*", _UNIT % "SubState=dead", _UNIT % "SubState=running"),
        ("*show*UnitFileState*", _UNIT % "UnitFileState=disabled", _UNIT % "UnitFileState=enabled"),
        ("*list-units*", "here.service\n", "here.service\n"),
        ("*list-unit-files*", "here.service disabled\n", "here.service enabled\n"),
        ("*is-enabled*", "disabled\n", "enabled\n"),
    ],
    "freebsd-update": [],
    "service": [("*-l", "here\n", "here\n"), ("*status", "", "")],
    "sysrc": [("-in *", "", "YES\n"), ("-j * -in *", "", "YES\n")],
    # Databases
    "mysql": [
        ("*information_schema.SCHEMATA*", "", _MYSQL_SCHEMATA),
        ("*mysql.user*", "", _MYSQL_USERS),
        ("*SHOW GRANTS*", "", "Grants for here@localhost\nGRANT SELECT ON `here`.* TO `here`@`localhost`\n"),
    ],
    "mysqldump": [],
    "psql": [("*pg_roles*", "", _PG_ROLES), ("*pg_database*", "", _PG_DATABASES)],
    "pg_dump": [],
    # Containers and machines
    "docker": [("*inspect*", "[]\n", f"{_DOCKER_HERE}\n")],
    "lxc": [("list*", "[]\n", '[{"name": "here", "status": "Running"}]\n')],
    "vzctl": [],
    "vzlist": [("*", "[]\n", '[{"ctid": 101, "status": "running"}]\n')],
    "zfs": [("get -H all", "", "tank/here\ttype\tfilesystem\t-\ntank/here\tatime\ton\tdefault\n")],
    "lsmod": [("*", "Module Size Used by\nzfs 1 0\n", "Module Size Used by\nzfs 1 0\n")],
    # The kernel and security
    "chcon": [],
    "getsebool": [("*", "here --> off\n", "here --> on\n")],
    "setsebool": [],
    "semanage": [
        ("fcontext -n -l", "", "/srv/here all files system_u:object_r:here_t:s0\n"),
        ("port -ln", "", "here_port_t tcp 8080\n"),
    ],
    "sepolicy": [("*", "", "8080: tcp here_port_t 80\n8080: tcp here_port_t 80\n")],
    "iptables-save": [("*", _NO_TABLE, f"{_TABLE}-A INPUT -s 1.2.3.4/32 -j ACCEPT\n")],
    "ip6tables-save": [("*", _NO_TABLE, _TABLE)],
    "iptables": [],
    "ip6tables": [],
    "modprobe": [],
    "timedatectl": [("*show*", "UTC\n", "Europe/Paris\n"), ("status*", "Time zone: UTC\n", "Time zone: Paris\n")],
    "puppet": [],
    "scp": [],
    "ssh": [],
    "add-apt-repository": [],
}  # fmt: skip


def stand_ins(*programs: str) -> str:
    """Shell text that puts them in place."""
    lines = ["mkdir -p /usr/local/sbin"]
    for program in programs:
        path = f"/usr/local/sbin/{program}"
        lines.append(f"cat >{path} <<'STANDIN'\n{_script(program)}STANDIN\nchmod +x {path}")
    return "\n".join(lines)


def without_stand_ins(*programs: str) -> str:
    """Shell text that takes them away."""
    return f"rm -f {' '.join(f'/usr/local/sbin/{program}' for program in programs)}"


def _script(program: str) -> str:
    lines = ["#!/bin/sh", 'case "$*" in', "*refuse*) echo refused >&2; exit 7 ;;"]
    for pattern, empty, full in PROGRAMS[program]:
        text = f"if [ -e /srv/diff/full ]; then printf %s {shlex.quote(full)}; else printf %s {shlex.quote(empty)}; fi"
        lines.append(f"{_pattern(pattern)}) {text}; exit 0 ;;")
    # One write a call: lines of calls in a pipeline do not mix.
    note = f'line={program}; for a; do line="$line [$a]"; done; printf \'%s\\n\' "$line" >>/srv/diff/calls'
    return "\n".join([*lines, "esac", note, ""])


def _pattern(pattern: str) -> str:
    return "*".join(shlex.quote(part) if part else "" for part in pattern.split("*"))
