"""Bad days, with the real command line on real hosts: what breaks is named, everything else goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scratch_project import CLOCK, STACK, Answer, ScratchProject, eventually

pytestmark = pytest.mark.sandbox

EVERYONE = {"front1", "back1", "back2"}
ONLINE = dict.fromkeys(EVERYONE, "online")
SHELL = "from pyinfra.operations import files, server\n\n\n"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScratchProject]:
    """A stack that is up. Every test leaves it so."""
    project = ScratchProject(tmp_path_factory.mktemp("small") / "project")
    try:
        project.good("up", "small", "-y")
        yield project
    finally:
        project.clean_up()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[ScratchProject]:
    """A second project with a stack and instances of the same names; nothing is there yet."""
    project = ScratchProject(tmp_path / "project")
    yield project
    project.clean_up()


def files_named(project: ScratchProject, path: str) -> set[str]:
    """The instances that have that file."""
    return {name for name, each in project.instances().items() if project.on(each["machine"], path)}


def run(project: ScratchProject, recipe: str, *options: str) -> Answer:
    return project.opsflow("run", project.name, f"{recipe}.go", "-y", *options)


# ------------------------------------------------------------------------------------------------ broken recipes


@pytest.mark.parametrize(
    ("name", "text", "line", "says"),
    [
        ("bad_syntax", "def go(node):\n    x = (\n", 2, "'(' was never closed"),
        ("bad_import", "import no_such_module\n\n\ndef go(node): ...\n", 1, "No module named 'no_such_module'"),
        ("bad_exception", "def go(node):\n    raise ValueError('boom')\n", 2, "ValueError: boom"),
        ("bad_exit", "import sys\n\n\ndef go(node):\n    sys.exit(0)\n", 5, "called sys.exit(0)"),
        (
            "bad_argument",
            f"{SHELL}def go(node):\n    server.shell(name='x', commands=['true'], _run_once=True)\n",
            5,
            "the argument _run_once is not supported",
        ),
        (
            "bad_name",
            f"{SHELL}def go(node):\n    server.shell(name='x', comands=['true'])\n",
            5,
            "missing a required argument: 'commands'",
        ),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_with_its_line(
    small: ScratchProject, name: str, text: str, line: int, says: str
) -> None:
    small.recipe(text, name)
    answer = run(small, name)
    assert answer.code == 65, answer
    assert f"recipes/{name}.py:{line}:" in answer.err
    assert says in answer.err
    assert small.runs()[0]["request"].get("recipes") != [f"{name}.go"], "nothing may have run"


@pytest.mark.parametrize(
    ("name", "what", "says"),
    [
        ("worse_exception", "raise ValueError('boom')", "ValueError: boom"),
        ("worse_exit", "import sys; sys.exit(3)", "sys.exit(3)"),
        ("worse_end", "import os; os._exit(3)", "with exit code 3"),
        ("worse_crash", "import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("worse_command", "server.shell(name='No', commands=['echo because >&2; exit 7'])", "because"),
    ],
)
def test_a_recipe_that_breaks_on_one_host_stops_only_that(
    small: ScratchProject, name: str, what: str, says: str
) -> None:
    body = f"    if node.name == 'back1':\n        {what}\n    files.file(name='Mark', path='/srv/{name}')\n"
    small.recipe(f"{SHELL}def go(node):\n{body}    server.shell(name='Fill', commands=['echo x >/srv/{name}'])\n", name)
    answer = run(small, name)
    assert answer.code == 1, answer
    assert says in answer.err
    assert f"{name}.go" in answer.err
    if name not in ("worse_end", "worse_crash"):
        assert f"recipes/{name}.py:6" in answer.err
    assert files_named(small, f"/srv/{name}") == EVERYONE - {"back1"}


def test_a_missing_function_in_the_stack_file_is_refused(small: ScratchProject) -> None:
    small.write_stack(
        STACK.replace("recipes: [trace]\n    instances", "recipes: {{setup: [trace.setpu]}}\n    instances")
    )
    try:
        answer = small.opsflow("up", "small", "-y")
        assert answer.code == 65
        assert "layers/front/recipes/setup" in answer.err
        assert "did you mean 'trace.setup'?" in answer.err
    finally:
        small.write_stack()
    assert small.good("up", "small", "-y").out.startswith("No changes")


def test_a_broken_recipe_that_nobody_uses_stops_nobody(small: ScratchProject) -> None:
    broken = small.recipe("def go(:\n", "unused")
    small.good("run", "small", "configure", "-y")
    looked = small.good("validate", "small")
    assert "warning: recipes/unused.py:1:" in looked.out
    broken.unlink()


def test_a_command_that_hangs_is_ended_on_the_host(small: ScratchProject) -> None:
    hangs = "server.shell(name='Hang', commands=[\"trap '' TERM; echo $$ >/srv/hangs; while :; do sleep 0.1; done\"])"
    small.recipe(f"{SHELL}def go(node):\n    if node.name == 'back1':\n        {hangs}\n", "hangs")
    small.write_stack(STACK + "timeouts: {{command: 1}}\n")
    try:
        began = CLOCK.monotonic()
        answer = run(small, "hangs")
        assert answer.code == 1, answer
        assert "timed out after 1 s; ended on the host" in answer.err
        assert CLOCK.monotonic() - began < 20
    finally:
        small.write_stack()
    process = small.on(small.instances()["back1"]["machine"], "/srv/hangs").strip()
    gone = small.opsflow("exec", "small", "--only", "back1", "--", f"kill -0 {process} 2>/dev/null || echo gone")
    assert "gone" in gone.out


# ------------------------------------------------------------------------------------------------ broken hosts


def test_a_host_that_vanishes_in_the_middle_is_unreachable_and_comes_back(small: ScratchProject) -> None:
    waits = "server.shell(name='Wait', commands=['echo x >/srv/waits; sleep 60'], _if=lambda: node.name == 'back1')"
    small.recipe(
        f"{SHELL}def go(node):\n    {waits}\n    server.shell(name='x', commands=['echo x >/srv/last'])\n", "waits"
    )
    machine = small.instances()["back1"]["machine"]
    with small.begun("run", "small", "waits.go", "-y") as process:
        assert eventually(lambda: small.on(machine, "/srv/waits") != "", 30)
        small.process(machine).end(grace=0)
        said = process.communicate(timeout=40)[0]
    assert process.returncode == 69, said
    assert "Traceback" not in said
    assert "lost the connection" in said
    assert files_named(small, "/srv/last") == EVERYONE - {"back1"}
    answer = small.good("up", "small", "-y")
    assert "its machine was stopped without opsflow" in answer.err
    assert small.statuses() == ONLINE


def on_host(project: ScratchProject, name: str, command: str) -> None:
    answer = project.opsflow("exec", project.name, "--only", name, "--", command)
    assert answer.code == 0, answer


def test_a_full_disk_on_a_host_is_its_failure_alone(small: ScratchProject) -> None:
    small.recipe(
        f"from io import StringIO\n\n{SHELL}def go(node):\n"
        "    files.put(name='Big', src=StringIO('x' * 300_000), dest='/srv/full/big')\n"
        "    server.shell(name='Then', commands=['echo x >/srv/full/then'])\n",
        "full",
    )
    for name in EVERYONE:
        on_host(small, name, "mkdir /srv/full")
    on_host(small, "back1", "mount -t tmpfs -o size=64k tmpfs /srv/full")
    answer = run(small, "full")
    assert answer.code == 1, answer
    assert "No space left on device" in answer.err
    assert "recipes/full.py:7" in answer.err
    assert files_named(small, "/srv/full/then") == EVERYONE - {"back1"}
    on_host(small, "back1", "umount /srv/full")
    assert run(small, "full").code == 0


@pytest.mark.parametrize(
    ("fill", "clear", "code"),
    [
        ("head -c 100m /dev/zero >/run/fill; true", "rm /run/fill", 0),
        ("for d in tmp var/tmp; do mount -t tmpfs -o size=16k tmpfs /$d; done", "umount /tmp; umount /var/tmp", 1),
        ("for d in tmp var/tmp; do mount -t tmpfs -o ro tmpfs /$d; done", "umount /tmp; umount /var/tmp", 0),
        ("for d in tmp var/tmp; do mount -t tmpfs -o noexec tmpfs /$d; done", "umount /tmp; umount /var/tmp", 0),
    ],
    ids=["run-full", "temporary-full", "temporary-read-only", "temporary-noexec"],
)
def test_a_host_without_room_for_our_own_files_works_or_says_why(
    small: ScratchProject, fill: str, clear: str, code: int
) -> None:
    small.recipe(
        f"from io import StringIO\n\n{SHELL}def go(node):\n"
        "    files.put(name='Upload', src=StringIO('y' * 200_000), dest='/srv/upload')\n",
        "uploads",
    )
    on_host(small, "back1", f"rm -f /srv/upload; {fill}")
    try:
        answer = run(small, "uploads")
        assert answer.code in (0, code), answer
        if answer.code:
            assert "back1" in answer.err
            assert "full" in answer.err
        assert files_named(small, "/srv/upload") >= EVERYONE - {"back1"}
    finally:
        on_host(small, "back1", clear)
    assert run(small, "uploads").code == 0
    assert files_named(small, "/srv/upload") == EVERYONE


def test_a_host_with_another_key_gets_nothing(small: ScratchProject) -> None:
    machine = small.instances()["back1"]["machine"]
    record = small.state / f"sandbox/records/{machine}.json"
    before = record.read_text()
    key = small.machines()[machine].host_keys[0]
    wrong = small.machines()[small.instances()["back2"]["machine"]].host_keys[0]
    trace = small.on(machine, "/srv/trace")
    record.write_text(before.replace(key, wrong))
    try:
        named = small.opsflow("run", "small", "configure", "--only", "back1", "-y")
        assert named.code == 64, named
        assert "its machine changed" in named.err
        assert "its machine changed" in str(small.instances()["back1"])
        up = small.opsflow("up", "small", "-y")
        assert up.code == 69, up
        assert "is not the expected one" in up.err
        assert small.on(machine, "/srv/trace") == trace
    finally:
        record.write_text(before)
    small.good("up", "small", "-y")
    small.good("run", "small", "configure", "--only", "back1", "-y")


# ------------------------------------------------------------------------------------------------ two at once, ^C


def waiting(project: ScratchProject) -> None:
    """A recipe that takes as long as nobody makes /srv/enough."""
    wait = "for i in $(seq 600); do test -e /srv/enough && break; sleep 0.1; done"
    project.recipe(f"{SHELL}def go(node):\n    server.shell(name='Wait', commands=['{wait}'])\n", "waiting")


def test_a_second_opsflow_is_told_who_works_and_can_wait(small: ScratchProject) -> None:
    waiting(small)
    with small.begun("run", "small", "waiting.go", "-y", "--comment", "first") as process:
        assert process.stdout is not None
        assert any("waiting.go" in line for line in process.stdout)
        refused = small.opsflow("run", "small", "configure", "-y")
        assert refused.code == 75, refused
        assert f"pid {process.pid}: opsflow run small waiting.go" in refused.err
        assert "--lock-wait" in refused.err
        looked = small.runs()[0]
        assert (looked["status"], looked["comment"]) == ("running", "first")
        waited, _ = small.both(
            lambda: small.opsflow("run", "small", "configure", "-y", "--lock-wait", "60"),
            lambda: small.good("exec", "small", "--", "touch /srv/enough"),
        )
        assert waited.code == 0, waited
        process.communicate()
        assert process.returncode == 0


def test_interrupted_it_ends_tidily_and_goes_on_later(small: ScratchProject) -> None:
    seed = int(os.environ.get("OPSFLOW_KILL_SEED") or random.SystemRandom().randrange(10**6))
    print(f"OPSFLOW_KILL_SEED={seed}")
    moments = random.Random(seed)
    for number in range(2):
        small.write_stack(greeting=f"interrupted {number}")
        with small.begun("up", "small", "-y") as process:
            assert process.stdout is not None
            first = next((line for line in process.stdout if line.startswith("run ")), "")
            assert first
            CLOCK.sleep(moments.random() * 2.5)
            process.send_signal(signal.SIGINT)
            asked = CLOCK.monotonic()
            said = first + process.communicate(timeout=30)[0]
        assert process.returncode in (0, 130), said
        assert "Traceback" not in said
        assert CLOCK.monotonic() - asked < 10
        newest = small.runs()[0]
        assert newest["status"] == ("successful" if process.returncode == 0 else "cancelled"), said
        assert {command.status.final for command in small.commands()} == {True}
        assert not small.helpers()
        small.good("up", "small", "-y")
        assert small.statuses() == ONLINE
        assert {small.on(each["machine"], "/srv/greeting") for each in small.instances().values()} == {
            f"interrupted {number}"
        }


# ------------------------------------------------------------------------------------------------ broken stores


@contextmanager
def private_mounts(root: Path, script: str) -> Iterator[tuple[str, ...]]:
    """A mount namespace in which ``script`` ran; what to write before a command that is to run there, in ``root``."""
    command = ["unshare", "-m", "sh", "-c", f"set -e; {script}; echo ready; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
        try:
            assert keeper.stdout is not None
            assert keeper.stdout.readline() == "ready\n"
            # A working directory that was entered outside would still be the one outside.
            yield ("nsenter", "-m", "-t", str(keeper.pid), "sh", "-c", f'cd {root} && exec "$@"', "sh")
        finally:
            keeper.send_signal(signal.SIGKILL)


def test_a_full_disk_under_the_store_stops_cleanly_and_heals(other: ScratchProject) -> None:
    # The machines stay on the large disk, at the same place for everyone: their addresses are known by it.
    state, kept = other.root / ".opsflow", other.root / "kept"
    script = f"mkdir -p {state}/sandbox {kept}; mount --bind {state}/sandbox {kept}"
    script += f"; mount -t tmpfs -o size=8m,mode=700 tmpfs {state}"
    script += f"; mkdir {state}/sandbox; mount --bind {kept} {state}/sandbox"
    with private_mounts(other.root, script) as prefix:

        def opsflow(*arguments: str) -> Answer:
            return other.opsflow(*arguments, prefix=prefix)

        def fill(left: int) -> None:
            """Leave so many KiB of the small disk, and never touch another one."""
            command = (
                f"stat -f -c %T {state} | grep -qx tmpfs || exit 1; head -c 8m /dev/zero >{state}/fill 2>/dev/null"
            )
            subprocess.run([*prefix, "sh", "-c", f"{command}; truncate -s -{left}k {state}/fill"], check=True)

        assert opsflow("up", "small", "-y").code == 0
        try:
            for left in (0, 16):
                fill(left)
                answer = opsflow("run", "small", "configure", "-y")
                assert answer.code in (0, 1), answer
                if answer.code:
                    assert "the disk is full" in answer.err, answer
                assert opsflow("status", "small").code == 0
                subprocess.run([*prefix, "rm", f"{state}/fill"], check=True)
                again = opsflow("run", "small", "configure", "-y")
                assert again.code == 0, again
                runs = opsflow("runs", "list", "small", "--json").json
                assert {each["status"] for each in runs} <= {"successful", "interrupted", "failed", "cancelled"}
            assert opsflow("up", "small", "-y").code == 0
        finally:
            subprocess.run([*prefix, "rm", "-f", f"{state}/fill"], check=True)
            destroyed = opsflow("destroy", "small", "-y")
        assert destroyed.code == 0, destroyed
    assert list(state.glob("sandbox/machines/*")) == []


def test_a_project_that_cannot_be_written_can_still_be_looked_at(small: ScratchProject) -> None:
    script = f"mount --bind {small.root} {small.root}; mount -o remount,bind,ro {small.root}"
    with private_mounts(small.root, script) as prefix:
        for look in (("status", "small"), ("runs", "list", "small"), ("plan", "small")):
            answer = small.opsflow(*look, prefix=prefix)
            assert answer.code == 0, answer
        answer = small.opsflow("run", "small", "configure", "-y", prefix=prefix)
        assert answer.code == 1, answer
        assert "read-only" in answer.err.lower()


def test_machines_of_a_deleted_store_are_found_again(other: ScratchProject) -> None:
    other.good("up", "small", "-y")
    before = other.machines().keys()
    for file in other.state.glob("state.db*"):
        file.unlink()
    assert other.statuses() == dict.fromkeys(EVERYONE, "stopped")
    answer = other.good("up", "small", "-y")
    assert "a machine of it was found" in answer.err
    assert other.statuses() == ONLINE
    assert other.machines().keys() == before
    for file in other.state.glob("state.db*"):
        file.unlink()
    other.write_stack(STACK.replace("back2", "back3"))
    other.good("destroy", "small", "-y")
    assert eventually(lambda: not other.leftovers(), 5), other.leftovers()


# ------------------------------------------------------------------------------------------------ changed stacks


def test_projects_with_the_same_names_do_not_disturb_each_other(small: ScratchProject, other: ScratchProject) -> None:
    small.both(lambda: other.good("up", "small", "-y"), lambda: small.good("run", "small", "setup", "-y"))
    mine = {each["address"] for each in small.instances().values()}
    assert not mine & {each["address"] for each in other.instances().values()}
    small.both(lambda: other.good("destroy", "small", "-y"), lambda: small.good("run", "small", "configure", "-y"))
    assert eventually(lambda: not other.leftovers(), 5), other.leftovers()
    assert small.statuses() == ONLINE
    assert small.good("exec", "small", "--", "hostname").code == 0


def test_a_stack_changes_under_its_machines(other: ScratchProject) -> None:
    other.good("up", "small", "-y")
    machines = {name: each["machine"] for name, each in other.instances().items()}

    other.write_stack(STACK.replace("provider: sandbox", "provider: static"))
    for command in (("plan", "small"), ("up", "small", "-y"), ("destroy", "small", "-y")):
        answer = other.opsflow(*command)
        assert answer.code == 65, answer
        assert "compute/provider: is 'static', but the machines of" in answer.err
    assert other.machines().keys() == set(machines.values())

    other.write_stack(STACK.replace("back2", "back3"))
    other.good("up", "small", "-y")
    assert other.statuses() == dict.fromkeys(("front1", "back1", "back3"), "online")
    now = {name: each["machine"] for name, each in other.instances().items()}
    assert other.machines().keys() == set(now.values())
    assert {name for name in now if machines.get(name) == now[name]} == {"front1", "back1"}
    assert other.on(now["front1"], "/srv/members").split() == ["front1", "back1", "back3"]

    start, end = STACK.index("  back:"), STACK.index("apps:")
    other.write_stack(STACK[:start] + STACK[end:].replace("[back]", "[front]"))
    other.good("up", "small", "-y")
    assert other.statuses() == {"front1": "online"}
    assert other.machines().keys() == {now["front1"]}
    assert other.on(now["front1"], "/srv/site/index.html") == "first"
    assert other.on(now["front1"], "/srv/members").split() == ["front1"]
    other.good("destroy", "small", "-y")
    assert eventually(lambda: not other.leftovers(), 5), other.leftovers()
