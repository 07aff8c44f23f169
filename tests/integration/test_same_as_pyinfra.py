"""The same recipes on twin hosts, once with the pyinfra CLI and once with opsflow: same files, same outcomes.

OPSFLOW_DIFFERENTIAL=300 tries that many random programs instead of a few.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from engine_hosts import IMPORTS, Fleet, add_user, open_fleet
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from opsflow.model.machine import Machine, MachineRequest
from opsflow.model.result import OperationStatus

pytestmark = pytest.mark.sandbox

RANDOM_PROGRAMS = int(os.environ.get("OPSFLOW_DIFFERENTIAL", "10"))

WATCHED = "/srv/diff /home /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/hostname /etc/cron.d /var/spool/cron"
TREE = f"""
cd /
find {WATCHED} -printf '%p %y %m %U:%G %l\\n' 2>/dev/null | sort
find {WATCHED} -type f 2>/dev/null | sort | while read -r f; do echo "== $f"; cat "$f"; echo; done
"""

OUTCOMES = {
    "Success": "changed",
    "No changes": "unchanged",
    "Error (ignored)": "ignored",
    "Error": "failed",
}
OUTCOME = re.compile(r"^    \[twin\] (Success|No changes|Error \(ignored\)|Error)", re.MULTILINE)
CHANCE = re.compile(
    r"\d{4}-?\d\d-?\d\d[T_.-]?[\d:.-]{6,}Z?|\d{10}(\.\d+)?"  # backups are named after the time
    r"|/tmp/pyinfra-[0-9a-f]{40}|installed on .*\)"  # crontab notes where it came from
)


class Twins:
    """Two hosts alike: pyinfra works on the left one, opsflow on the right one."""

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        self.fleet = fleet
        self.directory = directory
        self.left, self.right = (self._create(side) for side in ("left", "right"))
        self.user = "root"
        self._count = 0

    def _create(self, side: str) -> Machine:
        request = MachineRequest(token=f"differential-{side}", stack=side, instance="twin")
        machine = self.fleet.provider.create(request)
        self.fleet._machines.append(machine)
        assert self.fleet.engine.wait_ready(machine, machine_ssh(), 60, threading.Event()) is None
        self.fleet.shell(machine, "useradd -m app")
        add_user(self.fleet, machine, "dev")
        return machine

    def both(self, command: str) -> tuple[str, str]:
        """The same command as root on both."""
        with ThreadPoolExecutor(2) as pool:
            left, right = pool.map(lambda machine: self.fleet.shell(machine, command), (self.left, self.right))
        return left, right

    def run(self, body: str) -> list[str]:
        """Run the operations on both and compare; the outcomes."""
        self._count += 1
        body = textwrap.dedent(body).strip("\n")
        with ThreadPoolExecutor(2) as pool:
            left, right = pool.submit(self._pyinfra, body), pool.submit(self._opsflow, body)
            (left_outcomes, left_text), (right_outcomes, right_text) = left.result(), right.result()
        said = f"{body}\n--- pyinfra\n{left_text}\n--- opsflow\n{right_text}"
        assert right_outcomes == left_outcomes, f"{left_outcomes} with pyinfra, {right_outcomes} with opsflow\n{said}"
        trees = [CHANCE.sub("*", tree).splitlines() for tree in self.both(TREE)]
        different = list(difflib.unified_diff(*trees, "pyinfra", "opsflow", lineterm="", n=1))
        assert different == [], "\n".join([*different, said])
        return left_outcomes

    def _pyinfra(self, body: str) -> tuple[list[str], str]:
        deploy = self.fleet.recipes / f"deploy{self._count}.py"
        deploy.write_text(IMPORTS + body)
        known = self.directory / "known_hosts"
        address = f"[{self.left.address}]:{self.left.port}" if self.left.port != 22 else self.left.address
        known.write_text("".join(f"{address} {key}\n" for key in self.left.host_keys))
        data = {
            "ssh_hostname": self.left.address,
            "ssh_port": self.left.port,
            "ssh_user": self.user,
            "ssh_key": self.left.key_file,
            "ssh_known_hosts_file": str(known),
            "ssh_strict_host_key_checking": "yes",
        }
        inventory = self.directory / "inventory.py"
        inventory.write_text(f"hosts = [('twin', {data!r})]\n")
        result = subprocess.run(
            [Path(sys.executable).parent / "pyinfra", inventory, deploy.name, "-y"],
            capture_output=True, text=True, timeout=120, cwd=self.fleet.recipes, check=False,
        )  # fmt: skip
        deploy.unlink()
        outcomes = [OUTCOMES[found] for found in OUTCOME.findall(result.stderr)]
        # An exception of an operation ends pyinfra before it says anything about that operation.
        raised = ["failed"] if "--> Operation error in" in result.stderr else []
        return [*outcomes, *raised], result.stderr + result.stdout

    def _opsflow(self, body: str) -> tuple[list[str], str]:
        machine = self.right.model_copy(update={"user": self.user})
        text = "def setup(node):\n" + textwrap.indent(body, "    ") + "\n"
        result = self.fleet.run(machine, text, name="twin", timeouts={"command": 30})
        ran = [each.status for each in result.operations if each.status is not OperationStatus.NOT_RUN]
        return [status.value for status in ran], result.error


def machine_ssh():  # type: ignore[no-untyped-def]
    from opsflow.model.compute import Ssh

    return Ssh()


@pytest.fixture(scope="module")
def module_twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    directory = tmp_path_factory.mktemp("twins")
    with open_fleet(directory) as fleet:
        for name, text in SOURCES.items():
            (fleet.recipes / name).parent.mkdir(parents=True, exist_ok=True)
            (fleet.recipes / name).write_text(text)
        yield Twins(fleet, directory)


RESET = """
umask 022; rm -rf /srv/diff /etc/cron.d/diff /var/spool/cron/crontabs/app; mkdir -p /srv/diff
for u in web web2; do userdel -rf $u; groupdel $u; done 2>/dev/null
groupdel diffgroup 2>/dev/null; true
"""


@pytest.fixture
def twins(module_twins: Twins) -> Twins:
    module_twins.user = "root"
    module_twins.both(RESET)
    return module_twins


SOURCES = {
    "plain.txt": "plain text\n",
    "empty.txt": "",
    "noeol.txt": "no end of line",
    "site.conf.j2": "{% for port in ports %}\nlisten {{ port }};\n{% endfor %}\n# {{ 'ü' }} {{ host.name }}\n",
    "tree/a.txt": "a\n",
    "tree/sub/b.txt": "b\n",
    "tree/sub/deep/c.txt": "c\n",
}

DIRECTORIES = """
    files.directory(path="/srv/diff/d")
    files.directory(path="/srv/diff/d/e/f", mode="750", user="app", group="app")
    files.directory(path="/srv/diff/d", mode="2775", recursive=False)
    files.directory(path="/srv/diff/gone", present=False)
    files.directory(path="/srv/diff/own", user="app", group="app", mode="700", recursive=True)
    files.file(path="/srv/diff/own/file", mode="640", user="app")
    files.file(path="/srv/diff/touched", touch=True)
    files.file(path="/srv/diff/old", present=False)
    files.link(path="/srv/diff/link", target="/srv/diff/own")
    files.link(path="/srv/diff/relative", target="own/file", symbolic=True)
    files.link(path="/srv/diff/oldlink", target="/x", present=False)
"""

CONTENT = """
    from io import StringIO
    files.put(src="plain.txt", dest="/srv/diff/put", mode="600")
    files.put(src="empty.txt", dest="/srv/diff/sub/empty", user="app", group="app")
    files.put(src="noeol.txt", dest="/srv/diff/noeol")
    files.put(src=StringIO("in memory\\n"), dest="/srv/diff/memory", mode=True)
    files.put(src="plain.txt", dest="/srv/diff/put", mode="600")
    files.template(src="site.conf.j2", dest="/srv/diff/site.conf", mode="644", ports=[80, 443])
    files.template(src="site.conf.j2", dest="/srv/diff/owned.conf", user="app", mode="440", ports=[])
    files.put(src="plain.txt", dest="/srv/diff/to/make/dirs", create_remote_dir=True)
"""

LINES = """
    files.line(path="/srv/diff/lines", line="first")
    files.line(path="/srv/diff/lines", line="second")
    files.line(path="/srv/diff/lines", line="first")
    files.line(path="/srv/diff/conf", line="^#?Port .*", replace="Port 2222")
    files.line(path="/srv/diff/conf", line="Gone.*", present=False)
    files.line(path="/srv/diff/conf", line="It's \\"quoted\\" $HOME `id`", escape_regex_characters=True)
    files.line(path="/srv/diff/conf", line="Exact", ensure_newline=True)
    files.line(path="/srv/diff/conf", line="flag", backup=True)
    files.replace(path="/srv/diff/conf", text="alpha", replace="beta/gamma")
    files.replace(path="/srv/diff/conf", text="nothing", replace="something")
    files.block(path="/srv/diff/block", content="one\\ntwo", try_prevent_shell_expansion=True)
    files.block(path="/srv/diff/conf", content=["three", "four"], line="Port 2222", after=True)
    files.block(path="/srv/diff/conf", content="five", marker="## {mark} ##", begin="IN", end="OUT", line="beta.*",
                before=True)
"""

SYNC = """
    files.sync(src="tree", dest="/srv/diff/tree")
    files.sync(src="tree", dest="/srv/diff/tree2", user="app", group="app", mode="600", dir_mode="750", delete=True,
               exclude="b.txt")
    files.directory(path="/srv/diff/other")
    files.copy(src="/srv/diff/tree/a.txt", dest="/srv/diff/other", overwrite=True)
    files.move(src="/srv/diff/tree/sub", dest="/srv/diff/other", overwrite=True)
"""

USERS = """
    server.group(group="diffgroup", gid=4321)
    server.user(user="web", home="/home/web", shell="/bin/sh", group="diffgroup", groups=["adm"], uid=4444,
                comment="The Web", create_home=True, public_keys=["ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"])
    server.user(user="web", home="/home/web", shell="/bin/sh", group="diffgroup", groups=["adm"], uid=4444,
                comment="The Web", create_home=True, public_keys=["ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"])
    server.user(user="web2", ensure_home=True, home="/home/other", unique=True)
    server.user(user="nobody2", present=False)
    server.user_authorized_keys(user="web", public_keys=["ssh-ed25519 CCCC three"], delete_keys=True)
    server.group(group="gone", present=False)
    files.directory(path="/srv/diff/web", user="web", group="diffgroup")
"""

CRON = """
    crontab.crontab(command="/bin/one", user="app", minute="5", hour="1", cron_name="one")
    crontab.crontab(command="/bin/two", user="app", special_time="@daily")
    crontab.crontab(command="/bin/one", user="app", minute="6", hour="1", cron_name="one")
    crontab.crontab(command="/bin/old", user="app", present=False)
"""

SHELL = """
    server.shell(commands="echo one >/srv/diff/one")
    server.shell(name="Two", commands=["cd /tmp; echo $PWD >/srv/diff/two", "pwd >>/srv/diff/two"])
    server.shell(commands="pwd >/srv/diff/three; umask >>/srv/diff/three", _chdir="/srv/diff")
    server.shell(commands="echo \\"$A:$B\\" >/srv/diff/env", _env={"A": "x y'z\\"$HOME", "B": 5})
    server.shell(commands="exit 3", _success_exit_codes=[0, 3])
    server.shell(commands="exit 4", _ignore_errors=True)
    server.shell(commands=["echo a >/srv/diff/four", "false", "echo b >>/srv/diff/four"], _ignore_errors=True)
    server.shell(commands="[[ a == a ]] && echo $0 >/srv/diff/bash", _shell_executable="bash")
    server.shell(commands="set -e; false; echo no >/srv/diff/no", _ignore_errors=True)
    server.shell(commands="cat >/srv/diff/stdin; set -- 1 2; echo $# $0 $* >/srv/diff/args")
    server.shell(commands="cat <<'E' >/srv/diff/here\\n$HOME `id` \\\\\\nE")
    server.script(src="plain.sh")
    server.script_template(src="templated.sh.j2", word="given")
    server.hostname(hostname="twin2")
    server.hostname(hostname="twin")
"""
SOURCES["plain.sh"] = "#!/bin/sh\necho script >/srv/diff/script\n"
SOURCES["templated.sh.j2"] = "#!/bin/sh\necho {{ word }} >/srv/diff/templated\n"

CONDITIONS = """
    a = files.directory(path="/srv/diff/made")
    b = files.directory(path="/srv/diff/made")
    server.shell(commands="echo a >>/srv/diff/a", _if=a.did_change)
    server.shell(commands="echo b >>/srv/diff/b", _if=b.did_change)
    c = server.shell(commands="echo out; exit 1", _ignore_errors=True)
    server.shell(commands="echo c >>/srv/diff/c", _if=c.did_error)
    server.shell(commands="echo d >>/srv/diff/d", _if=lambda: "out" in c.stdout)
    server.shell(commands="echo e >>/srv/diff/e", _if=[a.did_change, c.did_error])
    for n in host.loop([1, 2, 3]):
        files.directory(path=f"/srv/diff/loop{n}")
    from pyinfra.facts.files import Directory
    if host.get_fact(Directory, path="/srv/diff/made"):
        server.shell(commands="echo there >/srv/diff/there")
"""

DEPENDENT = """
    server.shell(commands="mkdir -p /srv/diff/x && echo text >/srv/diff/x/file && ln -sfn x /srv/diff/y")
    files.file(path="/srv/diff/x/file", mode="600")
    files.line(path="/srv/diff/x/file", line="text")
    files.line(path="/srv/diff/x/file", line="more")
    files.link(path="/srv/diff/y", target="x")
    server.shell(commands="useradd -m web")
    server.user(user="web", shell="/bin/bash")
    files.put(src="plain.txt", dest="/home/web/put", user="web")
    server.shell(commands="rm -rf /srv/diff/x")
    files.directory(path="/srv/diff/x", mode="711")
"""

AS_OTHERS = """
    from io import StringIO
    files.directory(path="/srv/diff/root", mode="700", _sudo=True)
    files.put(src=StringIO("secret\\n"), dest="/srv/diff/root/file", mode="600", _sudo=True)
    files.template(src="site.conf.j2", dest="/srv/diff/site", ports=[1], user="app", _sudo=True)
    files.directory(path="/home/app/made", _sudo=True, _sudo_user="app")
    server.shell(commands="id -un >/home/app/who; echo $HOME >>/home/app/who", _sudo=True, _sudo_user="app")
    files.line(path="/home/app/line", line="hello", _sudo=True, _sudo_user="app")
    server.shell(commands="id -un >/home/app/su", _sudo=True, _su_user="app")
    server.shell(commands="id -un >/home/dev/me; pwd >>/home/dev/me")
    files.put(src="plain.txt", dest="relative.txt")
    files.line(path="/srv/diff/root/file", line="added", _sudo=True)
    server.user(user="web", _sudo=True)
    server.shell(commands="echo \\"$X\\" >/srv/diff/env", _sudo=True, _env={"X": "a 'b' $c"})
"""

CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "directories": (
        DIRECTORIES,
        (
            "chmod 700 /srv/diff/d; chown app /srv/diff/d; rm -r /srv/diff/own; ln -sfn /tmp /srv/diff/link",
            "mkdir /srv/diff/gone; echo x >/srv/diff/old; ln -s /x /srv/diff/oldlink; chmod 0 /srv/diff/own/file",
        ),
    ),
    "content": (
        CONTENT,
        (
            "echo drift >>/srv/diff/put; chmod 644 /srv/diff/put; rm /srv/diff/site.conf; chown app /srv/diff/noeol",
            "rm -r /srv/diff/sub; ln -sf put /srv/diff/memory; : >/srv/diff/owned.conf; chmod 0 /srv/diff/owned.conf",
        ),
    ),
    "lines": (
        LINES,
        (
            "printf '#Port 22\\nGone with\\nalpha alpha\\nPort 1' >/srv/diff/conf; echo second >/srv/diff/lines",
            "echo one >/srv/diff/block; sed -i '/first/d' /srv/diff/lines; echo alpha >>/srv/diff/conf",
        ),
    ),
    "sync": (SYNC, ("rm /srv/diff/tree/a.txt; echo x >/srv/diff/tree2/extra; chmod 777 /srv/diff/tree2/sub",)),
    "users": (USERS, ("usermod -s /bin/bash -c x web; rm -r /home/web/.ssh; userdel web2",)),
    "cron": (CRON, ("echo '1 1 1 1 1 /bin/old' | crontab -u app -",)),
    "shell": (SHELL, ()),
    "conditions": (CONDITIONS, ("rm -r /srv/diff/made /srv/diff/loop2",)),
    "dependent": (DEPENDENT, ("userdel -rf web",)),
}

FAILURES = {
    "a command": 'server.shell(commands=["echo a >/srv/diff/a", "exit 5", "echo b >/srv/diff/b"])',
    "a conflict": 'server.shell(commands="echo x >/srv/diff/d")\nfiles.directory(path="/srv/diff/d")',
    "no directory": 'files.put(src="plain.txt", dest="/srv/diff/no/such", create_remote_dir=False)',
    "no user": 'files.file(path="/srv/diff/f", user="nosuchuser")',
    "no source": 'server.shell(commands="echo x >/srv/diff/x")\nfiles.line(path="/srv/diff/nodir/f", line="x")',
    "after an ignored one": 'files.file(path="/srv/diff/f", user="nosuchuser", _ignore_errors=True)\n'
    'server.shell(commands="ls /srv/diff >/srv/diff/list")',
}


@pytest.mark.parametrize("name", CASES)
def test_pristine_converged_and_drifted(twins: Twins, name: str) -> None:
    body, drifts = CASES[name]
    twins.run(body)
    twins.run(body)
    for drift in drifts:
        twins.both(f"({drift}) || true")
        twins.run(body)


@pytest.mark.parametrize("name", FAILURES)
def test_failures(twins: Twins, name: str) -> None:
    outcomes = twins.run(f"{FAILURES[name]}\nserver.shell(commands='touch /srv/diff/after')")
    assert {"failed", "ignored"} & set(outcomes)


def test_as_other_users(twins: Twins) -> None:
    twins.both("rm -rf /home/app/* /home/dev/*; which setfacl >/dev/null || ln -sf /bin/true /usr/bin/setfacl")
    twins.user = "dev"
    twins.run(AS_OTHERS)
    twins.run(AS_OTHERS)
    twins.both("rm -r /home/app/made; echo x >/srv/diff/root/file; chown root /srv/diff/site")
    twins.run(AS_OTHERS)


def test_packages(twins: Twins) -> None:
    """Facts of packages; nothing is installed, since what is asked for is there or is not to be there."""
    twins.run("""
        apt.packages(packages=["bash", "coreutils"])
        apt.packages(packages=["no-such-package-opsflow"], present=False)
        server.packages(packages=["dash"])
        apt.packages(packages=["bash=0.0"], _ignore_errors=True)
    """)


PATHS = st.sampled_from(["/srv/diff/a", "/srv/diff/b", "/srv/diff/a/c", "/srv/diff/a/c/d", "/srv/diff/l"])
OUTSIDE = st.sampled_from(["/srv/diff/b", "/srv/diff/l"])
INSIDE = st.sampled_from(["/srv/diff/a", "/srv/diff/a/c"])
MODES = st.sampled_from([None, "600", "755", "1777", 640])
OWNERS = st.sampled_from([None, "app", "root"])
WORDS = st.sampled_from(["x", "y z", "it's", "a/b", "$HOME", "[x]", "x.*", "ü"])


def call(operation: str, **arguments: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    def text(values: dict[str, object]) -> str:
        given = ", ".join(f"{key}={value!r}" for key, value in values.items() if value is not None)
        return f"{operation}({given}, _ignore_errors=True)"

    return st.fixed_dictionaries(arguments).map(text)


present = st.sampled_from([None, None, None, False])
operations = st.one_of(
    call("files.directory", path=PATHS, mode=MODES, user=OWNERS, present=present),
    call("files.file", path=PATHS, mode=MODES, user=OWNERS, present=present, touch=st.sampled_from([None, True])),
    call("files.link", path=PATHS, target=PATHS, present=present),
    call("files.put", src=st.sampled_from(list(SOURCES)[:3]), dest=PATHS, mode=MODES, user=OWNERS),
    call("files.template", src=st.just("site.conf.j2"), dest=PATHS, ports=st.sampled_from([[], [1]]), mode=MODES),
    call("files.line", path=PATHS, line=WORDS, present=present, escape_regex_characters=st.sampled_from([None, True])),
    call("files.replace", path=PATHS, text=WORDS, replace=WORDS),
    call("files.block", path=PATHS, content=WORDS, present=present),
    # Not into itself: what cp does then depends on the order of the directory.
    call("files.copy", src=OUTSIDE, dest=INSIDE, overwrite=st.sampled_from([None, True])),
    call("server.shell", commands=PATHS.map(lambda path: f"test -f {path} && echo more >>{path}")),
    call("server.shell", commands=PATHS.map(lambda path: f"rm -rf {path}")),
)


@st.composite
def programs(draw: st.DrawFn) -> str:
    lines: list[str] = []
    for number, line in enumerate(draw(st.lists(operations, min_size=3, max_size=9))):
        if number and draw(st.booleans()):
            earlier = draw(st.integers(0, number - 1))
            how = draw(st.sampled_from(["did_change", "did_not_change", "did_succeed", "did_error"]))
            line = f"{line[:-1]}, _if=op{earlier}.{how})"
        lines.append(f"op{number} = {line}")
    return "\n".join(lines)


beginnings = st.sampled_from(
    [
        "true",
        "mkdir -p /srv/diff/a/c; echo 'x' >/srv/diff/b; echo 'y z' >/srv/diff/a/c/d",
        "ln -s b /srv/diff/l; printf 'x\\ny' >/srv/diff/b; mkdir /srv/diff/a; chown app /srv/diff/a",
        # No FIFO: whoever reads one waits for ever. No device: SFTP compares sizes, so pyinfra cannot write to one.
        "ln -s /nowhere /srv/diff/a; mkdir /srv/diff/b; echo x >/srv/diff/l; chmod 0 /srv/diff/l",
    ]
)


@settings(
    max_examples=RANDOM_PROGRAMS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes; programs are short
)
@given(program=programs(), beginning=beginnings)
def test_random_programs(module_twins: Twins, program: str, beginning: str) -> None:
    module_twins.user = "root"
    module_twins.both(f"{RESET}\n{beginning}")
    module_twins.run(program)
    module_twins.run(program)
