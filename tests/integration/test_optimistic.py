"""What is remembered makes runs short, and never wrong: real hosts, which may have changed behind the engine's back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_hosts import CLOCK, Fleet, open_fleet, statuses

from opsflow.engine import PyinfraEngine
from opsflow.model.machine import Machine
from opsflow.model.result import HostResult
from opsflow.ports import Mode
from opsflow.store.keep import FileKeep

pytestmark = pytest.mark.sandbox

RECIPE = """
from io import StringIO

def setup(node):
    files.directory(path="/srv/app", mode="750")
    config = files.put(src=StringIO(f"name = {node.name}\\n"), dest="/srv/app/config")
    files.line(path="/srv/app/list", line="one")
    server.user(user="appuser", home="/srv/home")
    server.shell(commands=["echo reloaded >>/srv/app/log"], _if=config.did_change)
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with open_fleet(tmp_path_factory.mktemp("optimistic"), "a", "b", "c", "d") as opened:
        yield opened


@pytest.fixture
def machines(fleet: Fleet) -> list[Machine]:
    for machine in fleet._machines:
        fleet.shell(machine, "rm -rf /srv/* /tmp/[a-z]*; userdel appuser 2>/dev/null; true")
    return fleet._machines


@pytest.fixture
def keep(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


def again(fleet: Fleet, keep: Path | None = None) -> None:
    """Another process, as far as the engine is concerned."""
    fleet.engine.close()
    fleet.engine = PyinfraEngine([fleet.recipes], CLOCK, keep=FileKeep(keep, CLOCK) if keep else None)


def run(fleet: Fleet, machine: Machine, recipe: str, mode: Mode = Mode.RUN, **more: object) -> HostResult:
    job = fleet.job(machine, recipe, mode=mode, **more)
    fleet.engine.check([job])
    return fleet.engine.run(job, lambda event: None, threading.Event())


def content(fleet: Fleet, machine: Machine) -> str:
    return fleet.shell(machine, "cd /srv/app && cat config list log; stat -c '%n %a' /srv/app; getent passwd appuser")


class TestRoundTrips:
    def test_a_converged_host_costs_exactly_one_and_no_plan(self, fleet: Fleet, machines: list[Machine]) -> None:
        again(fleet)
        recipe = fleet.write(RECIPE)
        assert "changed" in statuses(run(fleet, machines[0], recipe))
        second = run(fleet, machines[0], recipe)
        assert set(statuses(second)) == {"unchanged"}
        third = run(fleet, machines[0], recipe)
        assert set(statuses(third)) == {"unchanged"}
        assert (third.stats.round_trips, third.stats.plans, third.stats.hits, third.stats.misses) == (1, 0, 1, 0)

    def test_the_same_on_a_new_connection_in_a_new_process(
        self, fleet: Fleet, machines: list[Machine], keep: Path
    ) -> None:
        again(fleet, keep)
        recipe = fleet.write(RECIPE)
        for _ in range(2):
            run(fleet, machines[0], recipe)
        again(fleet, keep)
        result = run(fleet, machines[0], recipe)
        assert (result.stats.round_trips, result.stats.plans, result.stats.hits) == (1, 0, 1)

    def test_a_host_that_was_never_seen_costs_exactly_one_after_a_sibling(
        self, fleet: Fleet, machines: list[Machine]
    ) -> None:
        again(fleet)
        recipe = fleet.write(RECIPE)
        first = run(fleet, machines[0], recipe, name="host1")
        other = run(fleet, machines[1], recipe, name="host2")
        assert statuses(other) == statuses(first)
        assert (other.stats.round_trips, other.stats.plans, other.stats.misses) == (1, 1, 0)
        assert content(fleet, machines[1]).startswith("name = host2\none\nreloaded\n/srv/app 750\nappuser:")
        converged = run(fleet, machines[1], recipe, name="host2")
        assert set(statuses(converged)) == {"unchanged"}

    def test_hosts_that_begin_together_follow_the_first(self, fleet: Fleet, machines: list[Machine]) -> None:
        again(fleet)
        recipe = fleet.write(RECIPE)
        results: list[HostResult] = []

        def one(machine: Machine) -> None:
            results.append(fleet.engine.run(fleet.job(machine, recipe), lambda event: None, threading.Event()))

        threads = [threading.Thread(target=one, args=(machine,)) for machine in machines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(result.ok for result in results)
        assert sorted(result.stats.round_trips for result in results)[:-1] == [1] * (len(machines) - 1)


class TestWhatMakesAPlanVoid:
    def converged(self, fleet: Fleet, machine: Machine, recipe: str, **more: object) -> None:
        for _ in range(2):
            run(fleet, machine, recipe, **more)
        assert run(fleet, machine, recipe, **more).stats.hits == 1

    def test_the_recipe(self, fleet: Fleet, machines: list[Machine]) -> None:
        again(fleet)
        recipe = fleet.write(RECIPE, "edited")
        self.converged(fleet, machines[0], recipe)
        fleet.write(RECIPE.replace("one", "two"), "edited")
        result = run(fleet, machines[0], recipe)
        assert result.stats.hits == 0
        assert fleet.shell(machines[0], "cat /srv/app/list") == "one\ntwo\n"

    def test_what_it_imports_and_its_templates(self, fleet: Fleet, machines: list[Machine]) -> None:
        again(fleet)
        (fleet.recipes / "shared_values.py").write_text("WHO = 'ann'\n")
        (fleet.recipes / "greeting.j2").write_text("hello {{ who }}\n")
        recipe = fleet.write(
            "import shared_values\n"
            "def setup(node):\n"
            "    files.template(src='greeting.j2', dest='/srv/greeting', who=shared_values.WHO)\n"
        )
        self.converged(fleet, machines[0], recipe)
        (fleet.recipes / "shared_values.py").write_text("WHO = 'bob'\n")
        run(fleet, machines[0], recipe)
        assert fleet.shell(machines[0], "cat /srv/greeting") == "hello bob\n"
        self.converged(fleet, machines[0], recipe)
        (fleet.recipes / "greeting.j2").write_text("moin {{ who }}\n")
        run(fleet, machines[0], recipe)
        assert fleet.shell(machines[0], "cat /srv/greeting") == "moin bob\n"

    def test_a_file_elsewhere_that_it_reads_or_looks_for(
        self, fleet: Fleet, machines: list[Machine], tmp_path: Path
    ) -> None:
        again(fleet)
        flag, text = tmp_path / "flag", tmp_path / "text"
        text.write_text("1")
        recipe = fleet.write(
            "from pathlib import Path\nfrom io import StringIO\n"
            "def setup(node):\n"
            f"    there = Path({str(flag)!r}).exists()\n"
            f"    files.put(src=StringIO(Path({str(text)!r}).read_text() + str(there)), dest='/srv/out')\n"
        )
        self.converged(fleet, machines[0], recipe)
        flag.touch()
        run(fleet, machines[0], recipe)
        assert fleet.shell(machines[0], "cat /srv/out") == "1True"
        self.converged(fleet, machines[0], recipe)
        text.write_text("2")
        run(fleet, machines[0], recipe)
        assert fleet.shell(machines[0], "cat /srv/out") == "2True"

    def test_the_node(self, fleet: Fleet, machines: list[Machine]) -> None:
        again(fleet)
        recipe = fleet.write(RECIPE)
        self.converged(fleet, machines[0], recipe, name="old")
        run(fleet, machines[0], recipe, name="new")
        assert fleet.shell(machines[0], "cat /srv/app/config") == "name = new\n"

    def test_the_moment(self, fleet: Fleet, machines: list[Machine]) -> None:
        again(fleet)
        recipe = fleet.write(
            "from io import StringIO\nfrom datetime import datetime\nimport secrets\n"
            "def setup(node):\n"
            "    files.put(src=StringIO(node.event.sent_at), dest='/srv/sent')\n"
            "    files.put(src=StringIO(datetime.now().isoformat()), dest='/srv/now')\n"
            "    files.put(src=StringIO(secrets.token_hex()), dest='/srv/token')\n"
        )
        seen = set()
        for _ in range(3):
            result = run(fleet, machines[0], recipe)
            assert result.ok, result.error
            assert result.stats.hits == 0
            seen.add(fleet.shell(machines[0], "cat /srv/sent /srv/now /srv/token"))
        assert len(seen) == 3


class TestBehindTheBack:
    @pytest.mark.parametrize(
        "change",
        [
            "echo other >/srv/app/config",
            "chmod 700 /srv/app",
            "rm -r /srv/app",
            "rm /srv/app/list && mkdir /srv/app/list.d && ln -s list.d /srv/app/list2",
            "sed -i /one/d /srv/app/list",
            "userdel appuser",
            "usermod -d /elsewhere appuser",
        ],
    )
    def test_it_is_set_right(self, fleet: Fleet, machines: list[Machine], change: str) -> None:
        again(fleet)
        recipe = fleet.write(RECIPE)
        for _ in range(3):
            run(fleet, machines[0], recipe)
        right = content(fleet, machines[0]).replace("reloaded\n", "")
        fleet.shell(machines[0], change)
        result = run(fleet, machines[0], recipe)
        assert result.ok, result.error
        assert "changed" in statuses(result)
        assert content(fleet, machines[0]).replace("reloaded\n", "") == right
        assert set(statuses(run(fleet, machines[0], recipe))) == {"unchanged"}

    def test_a_check_looks_at_what_is(self, fleet: Fleet, machines: list[Machine]) -> None:
        again(fleet)
        recipe = fleet.write(RECIPE)
        for _ in range(3):
            run(fleet, machines[0], recipe)
        fleet.shell(machines[0], "echo other >/srv/app/config")
        shown = statuses(run(fleet, machines[0], recipe, Mode.CHECK))
        assert shown == ["unchanged", "would_change", "unchanged", "unchanged", "maybe"]
        assert fleet.shell(machines[0], "cat /srv/app/config") == "other\n"


class TestLies:
    LIAR = """
from pyinfra.api import FactBase, operation
from pyinfra import host
from pyinfra.api.command import StringCommand

class Liar(FactBase):
    def command(self):
        return "echo x >>/srv/liar; wc -l </srv/liar"
    def process(self, output):
        return int(list(output)[0])

@operation()
def note():
    value = host.get_fact(Liar)
    yield StringCommand(f"echo {value} >>/srv/noted")
    yield StringCommand("true")

def setup(node):
    note(name="First")
    note(name="Second")
"""

    def test_a_fact_that_is_another_one_each_time(self, fleet: Fleet, machines: list[Machine]) -> None:
        again(fleet)
        recipe = fleet.write(self.LIAR)
        for _ in range(4):
            result = run(fleet, machines[0], recipe)
            assert statuses(result) == ["changed", "changed"], result.error
            assert result.stats.round_trips < 12
        noted = [int(line) for line in fleet.shell(machines[0], "cat /srv/noted").split()]
        assert len(noted) == 8
        assert noted == sorted(set(noted))

    def test_one_that_the_recipe_itself_reads(self, fleet: Fleet, machines: list[Machine]) -> None:
        again(fleet)
        recipe = fleet.write(
            "from pyinfra.facts.server import Date\n"
            "def setup(node):\n"
            "    server.shell(name=str(host.get_fact(Date).year), commands=['true'])\n"
        )
        for _ in range(4):
            result = run(fleet, machines[0], recipe)
            assert statuses(result) == ["changed"], result.error
        assert result.stats.round_trips <= 3

    def test_output_that_looks_like_frames_and_answers(self, fleet: Fleet, machines: list[Machine]) -> None:
        again(fleet)
        fleet.shell(machines[0], "printf 'a|0\\nb|0\\n.\\n' >/srv/odd; printf '\\036nonce d\\036' >/srv/frame")
        recipe = fleet.write(
            "from pyinfra.facts.server import Command\nfrom io import StringIO\n"
            "def setup(node):\n"
            "    odd = host.get_fact(Command, 'cat /srv/odd')\n"
            "    frame = host.get_fact(Command, 'cat /srv/frame')\n"
            "    files.directory(path='/srv/one')\n    files.directory(path='/srv/two')\n"
            "    files.put(src=StringIO(odd + frame), dest='/srv/copy')\n"
        )
        for _ in range(3):
            result = run(fleet, machines[0], recipe)
            assert result.ok, result.error
        assert fleet.shell(machines[0], "cat /srv/copy | od -c | head -1").split()[1:4] == ["a", "|", "0"]


def test_secrets_are_not_written_down(fleet: Fleet, machines: list[Machine], keep: Path) -> None:
    again(fleet, keep)
    recipe = fleet.write(
        "from io import StringIO\nfrom pyinfra.facts.files import FileContents\n"
        "def setup(node):\n"
        "    files.put(src=StringIO('key=canary-4711\\n'), dest='/srv/secret', mode='600')\n"
        "    host.get_fact(FileContents, path='/srv/secret')\n"
    )
    for _ in range(3):
        assert run(fleet, machines[0], recipe, secrets=("canary-4711",)).ok
    plain = fleet.write("def setup(node):\n    files.directory(path='/srv/plain')\n")
    run(fleet, machines[0], plain)
    fleet.engine.close()
    import sqlite3
    import zlib

    connection = sqlite3.connect(keep)
    values = [
        zlib.decompress(row[0]) if len(row[0]) > 8 else row[0] for row in connection.execute("SELECT value FROM kept")
    ]
    connection.close()
    assert any(b"/srv/plain" in value for value in values)
    assert not any(b"canary" in value for value in values)
    assert b"canary" not in keep.read_bytes()
    again(fleet)
