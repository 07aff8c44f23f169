"""Systems for tests of facts: another /etc and other programs in a mount namespace of their own, real shells in it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opsflow.engine import lean

SHELLS = {"dash": "/usr/bin/dash", "bash": "/usr/bin/bash --posix", "busybox": "/usr/bin/busybox sh"}


@dataclass(frozen=True)
class System:
    """Files below /etc and how programs are found."""

    files: Mapping[str, str | bytes]
    busybox: bool = False
    """Programs are busybox's, as on Alpine."""
    uid: int = 0
    made: Mapping[str, str | bytes] = field(default_factory=dict)
    """Files elsewhere: the directories of /var, or those of the root, that they are in are made anew."""


@dataclass(frozen=True)
class Printed:
    stdout: bytes
    exit_code: int


class Machine:
    """A shell in the namespace, for as many texts as wanted; /etc is the directory `etc`."""

    def __init__(self, work: Path, system: System) -> None:
        self.etc = work / "etc"
        self._work = work
        self._system = system
        (self.etc / "alternatives").mkdir(parents=True)
        (self.etc / "alternatives/awk").symlink_to("/usr/bin/mawk")
        work.chmod(0o755)
        self.write(system.files)
        setup = [f"mount --bind {self.etc} /etc"]
        for path, content in system.made.items():
            self.at(path).parent.mkdir(parents=True, exist_ok=True)
            self.at(path).write_bytes(content if isinstance(content, bytes) else content.encode())
        tops = {"/".join(path.split("/")[: 3 if path.startswith("/var") else 2]) for path in system.made}
        setup += [f"mount --bind {self.at(top)} {top}" for top in tops]
        if system.busybox:
            applets = work / "applets"
            applets.mkdir()
            for name in subprocess.run(
                ["busybox", "--list"], capture_output=True, text=True, check=True
            ).stdout.split():
                (applets / name).symlink_to("/usr/bin/busybox")
        self._shell = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", "\n".join([*setup, "exec sh"])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"},
            text=True,
        )

    def at(self, path: str) -> Path:
        """Where a file lies for this process that was made elsewhere than below /etc."""
        return self._work / "made" / path.removeprefix("/")

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Write files of /etc; those of the machine before are gone."""
        for old in self.etc.iterdir():
            if old.name != "alternatives":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        for name, content in files.items():
            file = self.etc / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
            file.chmod(0o640 if name == "shadow" else 0o644)

    def run(self, text: str, shell: str = "dash") -> Printed:
        """What a shell prints for this text."""
        out = self._work / "out"
        path = f"PATH={self._work}/applets:/usr/sbin:/sbin" if self._system.busybox else ""
        command = f"{SHELLS[shell]} -c {shlex.quote(text)}"
        if self._system.uid:
            command = f"/usr/bin/setpriv --reuid {self._system.uid} --regid {self._system.uid} --clear-groups {command}"
        self._shell.stdin.write(
            f"/usr/bin/env {path} {command} >{shlex.quote(str(out))} 2>/dev/null </dev/null; echo $?\n"
        )
        self._shell.stdin.flush()
        code = self._shell.stdout.readline()
        assert code, f"the namespace of the test ended with {self._shell.wait()}"
        return Printed(out.read_bytes(), int(code))

    def close(self) -> None:
        self._shell.stdin.close()
        self._shell.stdout.close()
        self._shell.wait()


@contextmanager
def machine(work: Path, system: System) -> Iterator[Machine]:
    work.mkdir(exist_ok=True)
    opened = Machine(work, system)
    try:
        yield opened
    finally:
        opened.close()


def passwd(*entries: str) -> str:
    return "".join(f"{entry}\n" for entry in entries)


DEBIAN = {
    "passwd": passwd(
        "root:x:0:0:root:/root:/bin/bash",
        "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin",
        "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin",
        "gnats:x:41:41:Gnats Bug-Reporting System (admin):/var/lib/gnats:/usr/sbin/nologin",
        "_apt:x:42:65534::/nonexistent:/usr/sbin/nologin",
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
        "deploy:x:1000:1000:Deploy,,,:/home/deploy:/bin/bash",
        "jane.doe:x:1001:100:Jane | Doe:/home/jane.doe:",
    ),
    "group": passwd(
        "root:x:0:",
        "daemon:x:1:",
        "adm:x:4:deploy,jane.doe",
        "sudo:x:27:deploy",
        "www-data:x:33:deploy",
        "gnats:x:41:",
        "users:x:100:jane.doe",
        "nogroup:x:65534:",
        "deploy:x:1000:deploy",
        "docker:x:998:deploy,nobody-there,deploy",
    ),
    "shadow": passwd(
        "root:*:19500:0:99999:7:::",
        "daemon:*:19500:0:99999:7:::",
        "www-data:*:19500:0:99999:7:::",
        "deploy:$y$j9T$abc./$D6d.:19700:0:99999:7:::",
        "jane.doe:!:19700:0:99999:7:::",
    ),
    "nsswitch.conf": "passwd:         files systemd\ngroup:          files systemd\nshadow: files\nhosts: files dns\n",
    "os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\nCODENAME=bookworm\n',
    "apt/sources.list": "# nothing here\n\ndeb http://deb.example/debian bookworm main contrib\n",
    "apt/sources.list.d/debian.sources": (
        "Types: deb deb-src\nURIs: http://deb.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
        "Types: deb\nURIs: http://deb.example/security\nSuites: bookworm-security\nComponents: main\nEnabled: no"
    ),
    "apt/sources.list.d/other.sources": "Types: deb\nURIs: http://other.example/\nSuites: ./\n",
    "apt/sources.list.d/empty.list": "",
    "apt/sources.list.d/notes.txt": "deb http://not.example/ x y\n",
}
UBUNTU = {
    "passwd": DEBIAN["passwd"] + "ubuntu:x:1002:1002:Ubuntu:/home/ubuntu:/bin/bash\n",
    "group": DEBIAN["group"] + "ubuntu:x:1002:\nlxd:x:110:ubuntu\n",
    "shadow": DEBIAN["shadow"] + "ubuntu:!$6$abc:19700:0:99999:7:::\nghost:x:1::::::\n",
    "nsswitch.conf": "# comment\npasswd: compat systemd\ngroup:  compat systemd # more\n",
    "os-release": 'NAME="Ubuntu"\nVERSION="22.04.3 LTS (Jammy Jellyfish)"\nID=ubuntu\nVERSION_ID="22.04"\n',
    "lsb-release": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\nDISTRIB_CODENAME=jammy",
    "apt/sources.list": "deb [arch=amd64,arm64 signed-by=/k.gpg] http://ubuntu.example/ubuntu jammy main universe\r\n",
}
ALPINE = {
    "passwd": passwd(
        "root:x:0:0:root:/root:/bin/ash",
        "bin:x:1:1:bin:/bin:/sbin/nologin",
        "operator:x:11:0:operator:/root:/sbin/nologin",
        "guest:x:405:100:guest:/dev/null:/sbin/nologin",
        "nobody:x:65534:65534:nobody:/:/sbin/nologin",
    ),
    "group": passwd(
        "root:x:0:root", "bin:x:1:root,bin", "wheel:x:10:root", "users:x:100:guest,games", "nobody:x:65534:"
    ),
    "shadow": passwd("root:::0:::::", "bin:!::0:::::", "guest:!::0:::::", "nobody:!::0:::::"),
    "alpine-release": "3.19.1\n",
    "os-release": 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.19.1\nPRETTY_NAME="Alpine Linux v3.19"\n',
    "secfixes.d/alpine-release": "x\n",
}
ROCKY = {
    "passwd": passwd(
        "root:x:0:0:root:/root:/bin/bash",
        "bin:x:1:1:bin:/bin:/sbin/nologin",
        "operator:x:11:0:operator:/root:/sbin/nologin",
        "systemd-coredump:x:999:997:systemd Core Dumper:/:/sbin/nologin",
        "rocky:x:1000:1000::/home/rocky:/bin/bash",
    ),
    "group": passwd("root:x:0:", "bin:x:1:", "wheel:x:10:rocky", "systemd-coredump:x:997:", "rocky:x:1000:"),
    "shadow": passwd("root:!!:19000:0:99999:7:::", "rocky:$6$salt$hash:19000:0:99999:7:::"),
    "nsswitch.conf": "passwd: sss files systemd\ngroup: sss [SUCCESS=merge] files [SUCCESS=merge] systemd\n",
    "rocky-release": "Rocky Linux release 9.3 (Blue Onyx)\n",
    "redhat-release": "Rocky Linux release 9.3 (Blue Onyx)\n",
    "os-release": 'NAME="Rocky Linux"\nVERSION="9.3 (Blue Onyx)"\nID="rocky"\nID_LIKE="rhel centos fedora"\n',
}
SUSE = {
    "passwd": passwd(
        "root:x:0:0:root:/root:/bin/bash",
        "lp:x:496:7:Printing daemon:/var/spool/lpd:/usr/sbin/nologin",
        "messagebus:x:499:486:User for D-Bus:/run/dbus:/usr/bin/false",
        "geeko:x:1000:100:Geeko:/home/geeko:/bin/bash",
    ),
    "group": passwd("root:x:0:", "lp:x:7:", "messagebus:x:486:", "users:x:100:", "wheel:x:498:geeko"),
    "shadow": passwd("root:$2a$10$x:17000::::::", "lp:!:17000::::::", "geeko:$6$q$r/.:17000::::::"),
    "nsswitch.conf": "passwd:\tcompat\ngroup:\tcompat\nshadow:\tcompat\n",
    "os-release": 'NAME="openSUSE Leap"\nID="opensuse-leap"\nVERSION_ID="15.5"\nID_LIKE="suse opensuse"\n',
}
ARCH = {
    "passwd": passwd("root:x:0:0::/root:/usr/bin/bash", "git:x:975:975:git daemon user:/:/usr/bin/git-shell"),
    "group": passwd("root:x:0:root", "git:x:975:", "wheel:x:998:"),
    "nsswitch.conf": "passwd: files systemd\ngroup: files [SUCCESS=merge] systemd\ngshadow: files systemd\n",
    "arch-release": "",
    "os-release": 'NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n',
}
SYSTEMS = {
    "debian": System(DEBIAN),
    "debian-other-user": System(DEBIAN, uid=65534),
    "ubuntu": System(UBUNTU),
    "alpine": System(ALPINE, busybox=True),
    "rocky": System(ROCKY),
    "suse": System(SUSE),
    "arch": System(ARCH),
    "debian-with-busybox": System(DEBIAN, busybox=True),
}


def text(command: Any) -> str:
    return command if isinstance(command, str) else command.get_raw_value()


def value(fact: Any, printed: Any) -> Any:
    """What pyinfra makes of it, or how that fails."""
    if printed.exit_code != 0:
        return f"exit code {printed.exit_code}"
    stdout = printed.stdout.decode(errors="backslashreplace")
    if not stdout:
        return fact.default()
    try:
        return fact.process(stdout.removesuffix("\n").split("\n"))
    except Exception as error:  # noqa: BLE001 - the same error is the same value
        return repr(error)


def both(there: Machine, kind: type[Any], shell: str, *arguments: Any) -> tuple[Any, Any]:
    original, ours = kind(), kind()
    theirs = text(original.command(*arguments))
    return (
        value(original, there.run(theirs, shell)),
        value(ours, there.run(text(lean_command(kind)(ours, *arguments)), shell)),
    )


def lean_command(kind: type[Any]) -> Any:
    return next(lean.COMMANDS[each] for each in kind.__mro__ if each in lean.COMMANDS)
