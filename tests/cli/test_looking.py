"""The commands that only look."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml
from cli_world import WEB, Program

from opsflow.cli.doctor import sqlite_check
from opsflow.clock import ManualClock
from opsflow.model.journal import JournalEntry
from opsflow.model.state import InstanceStatus
from opsflow.ports import Changes
from opsflow.store.sql import SqlStore
from opsflow.wiring import Adapters

# ------------------------------------------------------------------------------------------------ status


def test_status_shows_declared_instances_that_were_never_created(opsflow: Program) -> None:
    answer = opsflow("status", "shop")
    assert answer.code == 0
    assert answer.out.splitlines()[0] == "shop: 0 of 3 instances online"
    assert answer.out.count("not created") == 3
    found = opsflow("status", "shop", "--json").json
    assert {"stack", "instances", "apps"} <= found.keys()
    assert (
        found["instances"][0] | {"name": "lb1", "layers": ["lb"], "status": "stopped", "runs": "always"}
        == (found["instances"][0])
    )
    assert found["instances"][0]["address"] is None


def test_status_of_a_running_stack(shop: Program) -> None:
    found = shop("status", "shop", "--json").json
    app1 = found["instances"][1]
    assert (app1["name"], app1["layers"], app1["status"], app1["runs"]) == ("app1", ["app"], "online", "always")
    assert app1["address"]
    assert app1["online_since"]
    assert "storefront" in app1["apps"]
    assert [where["instance"] for where in found["apps"][0]["deployed"]] == ["app1", "app2"]
    assert "3 of 3 instances online" in shop("status", "shop").out
    assert yaml.safe_load(shop("status", "shop", "-o", "yaml").out) == found


def test_status_and_plan_see_machines_that_ended_and_write_nothing(shop: Program) -> None:
    shop.provider.halt("app1")
    shop.provider.vanish("app2")
    found = shop("status", "shop", "--json").json["instances"]
    assert [(each["name"], each["status"]) for each in found] == [
        ("lb1", "online"), ("app1", "stopped"), ("app2", "stopped"),
    ]  # fmt: skip
    table = shop("status", "shop").out
    assert "its machine was stopped without opsflow" in table
    assert "its machine is gone without opsflow" in table
    assert shop("plan", "shop", "--detailed-exitcode").code == 2
    with closing(SqlStore(shop.root / ".opsflow" / "state.db", ManualClock())) as store:
        assert set(store.state("shop").online) == {"lb1", "app1", "app2"}


def test_status_without_its_provider_shows_the_records_and_says_so(shop: Program) -> None:
    shop.provider.fail("list", times=2, message="the cloud is away")
    found = shop("status", "shop", "--json")
    assert found.code == 0
    assert [each["status"] for each in found.json["instances"]] == ["online"] * 3
    assert "the cloud is away" in found.json["note"]
    assert "the machines could not be looked at: list *: the cloud is away" in shop("status", "shop").out


def test_an_instance_that_left_the_file_is_still_shown(shop: Program) -> None:
    file = shop.root / "stacks" / "shop.yml"
    file.write_text(file.read_text().replace("      app2: {attributes: {app: {debug: true}}}\n", ""))
    found = shop("status", "shop", "--json").json["instances"]
    assert [(i["name"], i["declared"]) for i in found] == [("lb1", True), ("app1", True), ("app2", False)]


def test_a_reason_with_terminal_escapes_cannot_move_the_cursor(shop: Program) -> None:
    shop.engine.fail("app1", "web.restart", error="\x1b[2J\x1b]0;owned\x07boom")
    answer = shop("run", "shop", "web.restart", "-v")
    assert "boom" in answer.err
    assert "\x1b" not in answer.err
    for argv in (("status", "shop"), ("runs", "show", "2"), ("runs", "logs", "2"), ("events", "shop")):
        assert "\x1b" not in shop(*argv).out


# ------------------------------------------------------------------------------------------------ runs and events


def test_runs_list_show_and_logs(shop: Program) -> None:
    shop("run", "shop", "web.restart", "--comment", "because")
    found = shop("runs", "list", "shop", "--json").json
    assert [(run["id"], run["action"], run["status"]) for run in found][1] == ("1", "up", "successful")
    assert found[0]["comment"] == "because"
    assert "because" in shop("runs", "list").out
    shown = shop("runs", "show", "1", "--json").json
    assert {"name", "event", "status", "operations"} <= shown["instances"][0].keys()
    assert "app1 setup: successful" in shop("runs", "show", "1").out
    logs = shop("runs", "logs", "1", "--instance", "app1").out
    assert "[app1] setup: web.setup: successful" in logs
    assert "$ do web.setup" in logs
    assert "[app2]" not in logs
    assert shop("runs", "logs", "1", "-f").out.count("web.setup: successful") == 2
    records = shop("runs", "logs", "1", "--jsonl").lines
    assert shop("runs", "logs", "1", "--json").json == records
    assert yaml.safe_load(shop("runs", "logs", "1", "-f", "-o", "yaml").out) == records
    assert {"instance", "event", "operation", "command", "exit_code", "stdout", "stderr"} <= records[0].keys()


def test_status_needs_no_stack_when_there_is_only_one(shop: Program) -> None:
    assert shop("status").out == shop("status", "shop").out
    file = shop.root / "stacks" / "shop.yml"
    (shop.root / "stacks" / "blog.yml").write_text(file.read_text().replace("stack: shop", "stack: blog"))
    answer = shop("status")
    assert (answer.code, answer.err) == (64, "error: which stack? This project has several\nhint: blog, shop\n")
    for each in (file, shop.root / "stacks" / "blog.yml"):
        each.unlink()
    answer = shop("status")
    assert (answer.code, answer.err) == (64, "error: this project has no stack file: stacks/NAME.yml is missing\n")


def test_runs_of_a_project_without_any(opsflow: Program) -> None:
    answer = opsflow("runs", "list")
    assert (answer.code, answer.out, answer.err) == (0, "", "No runs yet.\n")
    assert opsflow("runs", "list", "--json").json == []


def test_a_run_does_not_concern_an_instance(shop: Program) -> None:
    answer = shop("runs", "logs", "1", "--instance", "app9")
    assert answer.code == 64
    assert "app1, app2, lb1" in answer.err


def test_events_are_the_journal(shop: Program) -> None:
    found = shop("events", "shop", "--json").json
    assert {"id", "at", "stack", "kind", "message", "run", "instance"} <= found[0].keys()
    ids = [entry["id"] for entry in found]
    assert ids == sorted(ids)
    assert [entry["id"] for entry in shop("events", "--jsonl", "--after", str(ids[3])).lines] == ids[4:]
    assert {entry["instance"] for entry in shop("events", "--instance", "app1", "--json").json} == {"app1"}
    assert len(shop("events", "shop", "--limit", "2").out.splitlines()) == 2
    assert shop("events", "--run", "1", "--json").json


def test_events_of_a_stack_that_did_nothing_yet(opsflow: Program) -> None:
    answer = opsflow("events", "shop")
    assert (answer.code, answer.out) == (0, "")


# ------------------------------------------------------------------------------------------------ explain


def test_explain_shows_every_level_and_the_winner(opsflow: Program) -> None:
    answer = opsflow("explain", "shop", "app.workers", "--on", "app1")
    assert answer.code == 0
    assert "shop.yml:3" in answer.out
    assert "shop.yml:" in answer.out
    found = opsflow("explain", "shop", "app.workers", "--on", "app1", "--json").json
    assert found["value"] == 4
    assert [(level["value"], level["part"]) for level in found["levels"]] == [(2, "overridden"), (4, "wins")]
    over = opsflow("explain", "shop", "app.workers", "--on", "app1", "--set", "app.workers=9", "--json").json
    assert over["value"] == 9


def test_explain_of_a_key_that_nobody_sets(opsflow: Program) -> None:
    answer = opsflow("explain", "shop", "app.nothing", "--on", "app1")
    assert answer.code == 64
    assert "no level sets the attribute 'app.nothing'" in answer.err


# ------------------------------------------------------------------------------------------------ machines


def test_exec_runs_everywhere_with_the_instance_in_front(shop: Program) -> None:
    shop.engine.exec_answers["uptime -p"] = (0, b"up 1 hour\nmore\x1b[2J", b"")
    answer = shop("exec", "shop", "--layer", "app", "--", "uptime", "-p")
    assert answer.code == 0
    assert sorted(answer.out.splitlines()) == ["[app1] more", "[app1] up 1 hour", "[app2] more", "[app2] up 1 hour"]
    shop.engine.exec_answers["echo a | tr a b"] = (0, b"b\n", b"")
    found = shop("exec", "shop", "--json", "--", "echo a | tr a b").json
    assert [(i["name"], i["exit_code"], i["stdout"]) for i in found["instances"]][0][1:] == (0, "b\n")


def test_exec_keeps_so_much_of_a_host_and_says_when_it_cut(shop: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opsflow.cli.hosts.KEPT", 10)
    shop.engine.exec_answers["many"] = (0, b"12345678", b"abcdefgh")
    shop.engine.exec_answers["few"] = (0, b"1234567", b"abc")
    answer = shop("exec", "shop", "--only", "app1", "--json", "--", "many")
    (found,) = answer.json["instances"]
    assert (found["stdout"], found["stderr"], found["cut"]) == ("12345678", "ab", True)
    assert answer.err == "[app1] printed more than 10 bytes; what came after that was dropped\n"
    answer = shop("exec", "shop", "--only", "app1", "--json", "--", "few")
    (found,) = answer.json["instances"]
    assert (found["stdout"], found["stderr"], found["cut"], answer.err) == ("1234567", "abc", False, "")


def test_exec_that_fails_somewhere_is_1_and_unreachable_is_69(shop: Program) -> None:
    shop.engine.exec_answers["false"] = (1, b"", b"oh no\n")
    answer = shop("exec", "shop", "--only", "app1", "--", "false")
    assert answer.code == 1
    assert "[app1] exit code 1" in answer.err
    shop.engine.never_ready()
    answer = shop("exec", "shop", "--", "true")
    assert answer.code == 69
    assert "connection refused" in answer.err


def test_facts_of_machines(shop: Program) -> None:
    found = shop("facts", "shop", "server.Os", "--layer", "app", "--json").json
    assert found["instances"] == [
        {"name": "app1", "facts": {"server.Os": "Linux"}},
        {"name": "app2", "facts": {"server.Os": "Linux"}},
    ]
    assert "Linux" in shop("facts", "shop", "server.Os").out


# ------------------------------------------------------------------------------------------------ files


def test_validate_reports_every_file_and_missing_recipes(opsflow: Program) -> None:
    answer = opsflow("validate")
    assert (answer.code, answer.err) == (0, "")
    assert "shop.yml: ok" in answer.out
    file = opsflow.root / "stacks" / "shop.yml"
    file.write_text(file.read_text().replace("web.setup", "web.stup").replace("[proxy]", "[poxy]"))
    answer = opsflow("validate", "shop")
    assert answer.code == 65
    assert "did you mean 'web.setup'" in answer.out
    assert "did you mean 'proxy'" in answer.out
    found = opsflow("validate", "shop", "--json").json["stacks"][0]
    assert (found["valid"], len(found["problems"])) == (False, 2)
    assert all(problem["line"] for problem in found["problems"])


@pytest.fixture
def planning(opsflow: Program) -> Program:
    """The program with the engine that it really has."""
    opsflow.adapters = replace(opsflow.adapters, engine=Adapters().engine)
    return opsflow


@pytest.mark.parametrize(
    ("module", "text", "says"),
    [
        ("web", "import nothere\n\n" + WEB, "No module named 'nothere'"),
        ("web", "import json.nothere\n\n" + WEB, "nothere"),
        ("web", WEB + "\n\nraise RuntimeError('not today')\n", "not today"),
        ("web", WEB.replace("setup(node)", "setup()"), "setup"),
        ("proxy", "def setup(node) ...\n", "is not valid Python"),
    ],
)
def test_validate_and_plan_refuse_what_up_would_refuse(planning: Program, module: str, text: str, says: str) -> None:
    (planning.root / f"recipes/{module}.py").write_text(text)
    found = planning("validate", "shop", "--json")
    (report,) = found.json["stacks"]
    assert (found.code, report["valid"], report["file"]) == (65, False, str(planning.root / "stacks/shop.yml"))
    assert says in " ".join(problem["message"] for problem in report["problems"])
    # A function that cannot even be called has no line of its own: then the recipe's name says where.
    where = {str(planning.root / f"recipes/{module}.py"), f"{module}.setup"}
    assert {problem["file"] for problem in report["problems"]} <= where
    assert planning("validate", "shop").out.startswith(f"{planning.root}/stacks/shop.yml: ")
    plan = planning("plan", "shop")
    assert plan.code == 65
    assert says in plan.err
    assert not planning.provider.list("shop")


def test_validate_refuses_a_recipe_that_an_installed_module_hides(planning: Program) -> None:
    file = planning.root / "stacks/shop.yml"
    file.write_text(file.read_text().replace("[proxy]", "[json]"))
    (planning.root / "recipes/json.py").write_text("def setup(node): ...\n")
    answer = planning("validate", "shop")
    assert answer.code == 65
    assert "an installed Python module of that name comes first" in answer.out
    assert planning("plan", "shop").code == 65


def test_a_module_that_no_stack_uses_is_a_warning_and_hides_nothing(planning: Program) -> None:
    (planning.root / "recipes/draft.py").write_text("def setup(node) ...\n")
    answer = planning("validate", "shop")
    assert answer.code == 0
    assert "shop.yml: ok, 1 warning" in answer.out
    assert f"warning: {planning.root}/recipes/draft.py:1:" in answer.out
    file = planning.root / "stacks/shop.yml"
    file.write_text(file.read_text().replace("web.setup", "web.stup"))
    (report,) = planning("validate", "shop", "--json").json["stacks"]
    assert ["web.stup" in problem["message"] for problem in report["problems"]] == [True]
    assert len(report["warnings"]) == 1


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{directory: ./storefrnt}", "there is no directory"),
        ("{directory: storefront, subdirectory: web}", "storefront/web"),
        ("{git: ../nowhere}", "there is no git repository"),
        ("{archive: dist/shop.tar.gz}", "there is no file"),
    ],
)
def test_validate_looks_for_sources_on_this_machine(opsflow: Program, source: str, says: str) -> None:
    file = opsflow.root / "stacks/shop.yml"
    file.write_text(file.read_text().replace("{directory: ./storefront}", source))
    answer = opsflow("validate", "shop")
    assert answer.code == 65
    assert says in answer.out
    assert "apps/storefront/source/" in answer.out


def test_validate_asks_no_network_for_sources(opsflow: Program) -> None:
    file = opsflow.root / "stacks/shop.yml"
    file.write_text(file.read_text().replace("{directory: ./storefront}", "{git: 'https://git.invalid/shop.git'}"))
    assert opsflow("validate", "shop").code == 0


def test_validate_of_a_file_that_is_no_stack(opsflow: Program) -> None:
    (opsflow.root / "stacks" / "bad.yml").write_text("stack: bad\ncompute: {provider: fke}\nlayers: {a: {x: 1}}\n")
    answer = opsflow("validate", "--json")
    assert answer.code == 65
    bad, good = answer.json["stacks"]
    assert (bad["valid"], good["valid"]) == (False, True)
    assert len(bad["problems"]) >= 2


def test_the_schema_accepts_the_example_and_refuses_unknown_keys(opsflow: Program) -> None:
    schema = opsflow("schema", project=False).json
    validator = jsonschema.Draft7Validator(schema)
    example = yaml.safe_load((opsflow.root / "stacks" / "shop.yml").read_text())
    assert list(validator.iter_errors(example)) == []
    assert list(validator.iter_errors({**example, "layrs": {}}))


def test_init_writes_a_project_that_is_valid_and_overwrites_nothing(opsflow: Program, tmp_path: Path) -> None:
    directory = tmp_path / "new"
    answer = opsflow("init", str(directory), project=False)
    assert answer.code == 0
    assert opsflow("-C", str(directory), "validate", project=False).code == 0
    stack = (directory / "stacks" / "hello.yml").read_text()
    assert stack.startswith("# yaml-language-server: $schema=opsflow.schema.json\n")
    jsonschema.Draft7Validator(json.loads((directory / "stacks" / "opsflow.schema.json").read_text()))
    assert ".opsflow/" in (directory / ".gitignore").read_text()
    (directory / "recipes" / "hello.py").write_text("# mine\n")
    answer = opsflow("init", str(directory), project=False)
    assert answer.code == 64
    assert "already has" in answer.err
    assert (directory / "recipes" / "hello.py").read_text() == "# mine\n"


# ------------------------------------------------------------------------------------------------ doctor


def test_doctor_says_ok_warn_or_fail_and_what_to_do(opsflow: Program) -> None:
    found = opsflow("doctor", "--json").json["checks"]
    verdicts = {check["name"]: check["verdict"] for check in found}
    assert verdicts["store"] == verdicts["lock"] == verdicts["stack shop"] == "ok"
    assert all(check["advice"] for check in found if check["verdict"] != "ok")
    assert opsflow("doctor").out.splitlines()[0].split() == ["CHECK", "FOUND"]


def test_doctor_finds_a_broken_stack_and_the_holder_of_the_lock(shop: Program) -> None:
    (shop.root / "stacks" / "shop.yml").write_text("stack: shop\n")
    store = SqlStore(shop.root / ".opsflow" / "state.db", shop.clock)
    with store.lease("ada@laptop pid 7: opsflow up shop"):
        answer = shop("doctor", "--json")
    store.close()
    checks = {check["name"]: check for check in answer.json["checks"]}
    assert answer.code == 1
    assert checks["lock"]["verdict"] == "warn"
    assert "ada@laptop pid 7" in checks["lock"]["found"]
    assert checks["stack shop"]["verdict"] == "fail"


def test_doctor_minds_broken_recipes_of_a_stack_only(opsflow: Program) -> None:
    def verdict() -> str:
        checks = opsflow("doctor", "--json").json["checks"]
        return next(str(check["verdict"]) for check in checks if check["name"] == "stack shop")

    (opsflow.root / "recipes/draft.py").write_text("def setup(node) ...\n")
    assert verdict() == "ok"
    (opsflow.root / "recipes/web.py").write_text("def setup(node) ...\n")
    assert verdict() == "fail"


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((3, 40, 1), "warn"), ((3, 51, 2), "warn"), ((3, 51, 3), "ok"), ((3, 6, 0), "fail")],
)
def test_sqlite_versions_are_judged(version: tuple[int, ...], verdict: str) -> None:
    assert sqlite_check(version).verdict == verdict


# ------------------------------------------------------------------------------------------------ completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, opsflow: Program) -> None:
    answer = opsflow("completion", shell, project=False)
    assert answer.code == 0
    assert "_OPSFLOW_COMPLETE" in answer.out
    program = shutil.which(shell)
    if program and shell != "fish":
        subprocess.run([program, "-n"], input=answer.out, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ("opsflow ro", "ro", ["rollback"]),
        ("opsflow status ", "", ["shop"]),
        ("opsflow run shop configure --only ", "", ["lb1", "app1", "app2"]),
        ("opsflow run shop configure --layer a", "a", ["app"]),
        ("opsflow deploy shop ", "", ["storefront"]),
        ("opsflow plan shop con", "con", ["configure"]),
        ("opsflow run shop web.r", "web.r", ["web.restart"]),
        ("opsflow ssh shop app", "app", ["app1", "app2"]),
        ("opsflow status broken ", "", []),
    ],
)
def test_names_of_the_project_are_completed(
    words: str, incomplete: str, expected: list[str], opsflow: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(opsflow.root)
    monkeypatch.setenv("_OPSFLOW_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    opsflow.capture.readouterr()
    with pytest.raises(SystemExit):
        opsflow(project=False)
    assert opsflow.capture.readouterr().out.split() == expected


# ------------------------------------------------------------------------------------------------ following


class ImpatientClock(ManualClock):
    """Does something at each sleep, and presses ^C when there is nothing left to do."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        super().__init__()
        self._steps = list(steps)

    def sleep(self, seconds: float) -> None:
        """The next step instead."""
        if not self._steps:
            raise KeyboardInterrupt
        self._steps.pop(0)()


def journal(program: Program, message: str) -> None:
    with (
        closing(SqlStore(program.root / ".opsflow" / "state.db", program.clock)) as store,
        store.lease("another process") as lease,
    ):
        entry = JournalEntry(at=program.clock.now(), stack="shop", kind="instance.noticed", message=message)
        store.commit(lease, Changes(entries=[entry]))


def test_events_are_followed_until_the_interrupt(shop: Program) -> None:
    last = shop("events", "shop", "--json").json[-1]["id"]
    clock = ImpatientClock(lambda: None, lambda: journal(shop, "first"), lambda: journal(shop, "second"))
    shop.adapters = replace(shop.adapters, clock=clock)
    answer = shop("events", "shop", "-f", "--jsonl", "--after", str(last))
    assert answer.code == 130
    assert [entry["message"] for entry in answer.lines] == ["first", "second"]


def test_status_watch_prints_again_when_something_changed(shop: Program) -> None:
    def lose_app1() -> None:
        with (
            closing(SqlStore(shop.root / ".opsflow" / "state.db", shop.clock)) as store,
            store.lease("another process") as lease,
        ):
            state = store.state("shop").instances["app1"]
            lost = state.model_copy(update={"status": InstanceStatus.CONNECTION_LOST})
            entry = JournalEntry(at=shop.clock.now(), stack="shop", kind="instance.lost", message="lost")
            store.commit(lease, Changes(entries=[entry], instances=[lost]))

    shop.adapters = replace(shop.adapters, clock=ImpatientClock(lambda: None, lose_app1, lambda: None))
    answer = shop("status", "shop", "--watch", "--json")
    assert answer.code == 130
    assert [line["instances"][1]["status"] for line in answer.lines] == ["online", "connection_lost"]
    shop.adapters = replace(shop.adapters, clock=ImpatientClock(lambda: None))
    assert shop("status", "shop", "--watch").out.count("2 of 3 instances online") == 1
