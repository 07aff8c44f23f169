"""What makes a sandbox a machine of its own: name, keys, users, and an sshd that only it answers to."""

from __future__ import annotations

import uuid
from pathlib import Path

from opsflow.providers.compute.sandbox.addresses import Endpoint
from opsflow.providers.compute.sandbox.disk import PRIVATE, Disk
from opsflow.providers.compute.sandbox.keys import KeyPair

HOME = "/etc/opsflow-sandbox"
INIT = f"{HOME}/init"
SSHD = "/usr/sbin/sshd"

# The first process: sshd's parent, because orphans must be reaped and sshd does not do that. `wait` reaps every child
# of the shell, also those it never started. On SIGTERM everything gets the signal and time to end (a database saves).
INIT_SCRIPT = f"""\
trap 'ending=1; kill -TERM -1' TERM
{SSHD} -D -e -f {HOME}/sshd_config &
while kill -0 $! 2>/dev/null; do wait $!; done
[ "$ending" ] && while kill -0 -1 2>/dev/null; do sleep 0.05; done
exit 0
"""

SSHD_CONFIG = f"""\
Port {{port}}
ListenAddress {{address}}
HostKey {HOME}/host_key
AuthorizedKeysFile {HOME}/authorized_keys
PidFile none
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
AuthenticationMethods publickey
MaxStartups 1000
MaxSessions 100
LoginGraceTime 30
PrintMotd no
PrintLastLog no
LogLevel ERROR
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""

HOSTS = """\
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
{address} {name}
"""

# All sandboxes share the machine's network: a service that a package starts with its default settings would take a
# port that another one needs. It is started by the recipe that configured it.
POLICY = """\
#!/bin/sh
# opsflow sandbox: packages do not start services; `service NAME start` does.
exit 101
"""


def furnish(disk: Disk, *, name: str, host_key: KeyPair, authorized: str, private: tuple[Path, ...]) -> None:
    """Write everything that does not depend on the sandbox's address."""
    disk.lay_out()
    if disk.lower == Path("/"):
        _hide_the_machine(disk, private)
    disk.write(f"{HOME}/host_key", host_key.private, 0o600)
    disk.write(f"{HOME}/authorized_keys", f"{authorized}\n")
    disk.write(INIT, INIT_SCRIPT)
    disk.write("/etc/hostname", f"{name}\n")
    disk.write("/etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    disk.write("/etc/resolv.conf", _name_servers())
    disk.write("/usr/sbin/policy-rc.d", POLICY, 0o755)
    shadow = disk.read("/etc/shadow")
    if shadow is not None:
        disk.write("/etc/shadow", without_passwords(shadow), 0o640)


def settle(disk: Disk, *, name: str, at: Endpoint, before: str | None) -> None:
    """Write what depends on the address; what the sandbox itself wrote into /etc/hosts stays."""
    disk.write(f"{HOME}/sshd_config", SSHD_CONFIG.format(port=at.port, address=at.address))
    hosts = disk.read("/etc/hosts")
    if before is None or hosts is None:
        disk.write("/etc/hosts", HOSTS.format(address=at.address, name=name))
    elif before != at.address:
        disk.write("/etc/hosts", "".join(_moved(line, before, at.address) for line in hosts.splitlines(keepends=True)))


def without_passwords(shadow: str) -> str:
    """The shadow file with no password in it and root not locked: sshd without PAM refuses a locked account."""
    lines = []
    for line in shadow.splitlines():
        user, colon, rest = line.partition(":")
        password, *others = rest.split(":")
        if colon and (user == "root" or not password.startswith(("!", "*"))):
            line = ":".join((user, "*", *others))
        lines.append(line)
    return "\n".join(lines) + "\n"


def _hide_the_machine(disk: Disk, private: tuple[Path, ...]) -> None:
    for path in PRIVATE:
        disk.empty(path)
    disk.hide(private)
    for key in Path("/etc/ssh").glob("ssh_host_*"):
        disk.remove(str(key))
    # No systemd runs in there: pyinfra and scripts that find systemctl would call it in vain.
    for path in ("/etc/shadow-", "/etc/gshadow-", "/bin/systemctl", "/usr/bin/systemctl"):
        disk.remove(path)
    for name in (".bashrc", ".profile"):
        skeleton = disk.read(f"/etc/skel/{name}")
        if skeleton is not None:
            disk.write(f"/root/{name}", skeleton)


def _name_servers() -> str:
    # The file itself, not a link to one under /run that the sandbox cannot see.
    source = Path("/etc/resolv.conf")
    return source.read_text() if source.exists() else ""


def _moved(line: str, before: str, now: str) -> str:
    return line.replace(before, now, 1) if line.split()[:1] == [before] else line
