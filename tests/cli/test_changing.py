"""The commands that change something: plan, up, run, deploy, start, stop, destroy and what they print."""

from __future__ import annotations

import json

import pytest
from cli_world import Program

SILENT = ("-o", "json")


def statuses(program: Program) -> dict[str, str]:
    return {instance["name"]: instance["status"] for instance in program("status", "shop", "--json").json["instances"]}


# ------------------------------------------------------------------------------------------------ plan and up


def test_plan_shows_what_up_would_do_and_changes_nothing(opsflow: Program) -> None:
    answer = opsflow("plan", "shop")
    assert answer.code == 0
    assert "+ create app1" in answer.out
    assert "web.setup" in answer.out
    assert "Plan: 3 to create" in answer.out
    assert opsflow.provider.calls == []
    assert statuses(opsflow) == {"lb1": "stopped", "app1": "stopped", "app2": "stopped"}


def test_plan_as_json_and_with_detailed_exit_codes(opsflow: Program) -> None:
    answer = opsflow("plan", "shop", "--json", "--detailed-exitcode")
    assert answer.code == 2
    assert {step["kind"] for step in answer.json["steps"]} >= {"create", "setup", "configure"}
    assert all(step["reason"] for step in answer.json["steps"])
    opsflow("up", "shop", "-y")
    answer = opsflow("plan", "shop", "--detailed-exitcode")
    assert (answer.code, answer.out) == (0, "No changes. The stack is as its file says.\n")


def test_plan_of_an_event_shows_who_runs_what(shop: Program) -> None:
    answer = shop("plan", "shop", "configure", "--layer", "app", "--json")
    assert {step["instance"] for step in answer.json["steps"]} == {"app1", "app2"}
    assert answer.json["steps"][0]["recipes"] == ["web.configure"]


def test_up_without_a_terminal_only_shows_the_plan(opsflow: Program) -> None:
    answer = opsflow("up", "shop")
    assert answer.code == 0
    assert "+ create app1" in answer.out
    assert "Use -y to do it." in answer.err
    assert opsflow.provider.calls == []


def test_up_brings_the_stack_online_and_tells_per_host(opsflow: Program) -> None:
    answer = opsflow("up", "shop", "-y")
    assert answer.code == 0, answer.err
    assert answer.out == ""
    assert statuses(opsflow) == {"lb1": "online", "app1": "online", "app2": "online"}
    assert "[app1] changed      web.setup" in answer.err
    assert "INSTANCE  RESULT" in answer.err
    assert "Run 1 up: successful" in answer.err
    assert "retry" not in answer.err
    again = opsflow("up", "shop", "-y")
    assert (again.code, again.out) == (0, "No changes. The stack is as its file says.\n")


def test_up_as_json_is_the_run_with_its_operations(opsflow: Program) -> None:
    found = opsflow("up", "shop", "-y", "--json").json
    assert (found["id"], found["action"], found["status"]) == ("1", "up", "successful")
    setup = next(entry for entry in found["instances"] if (entry["name"], entry["event"]) == ("app1", "setup"))
    operation = setup["operations"][0]
    assert {"name", "changed", "duration", "exit_code", "file", "line", "stderr"} <= operation.keys()
    assert (setup["status"], operation["name"], operation["changed"]) == ("successful", "web.setup", True)


def test_jsonl_is_one_event_a_line_on_stdout(opsflow: Program) -> None:
    answer = opsflow("up", "shop", "-y", "--jsonl")
    kinds = {line["type"] for line in answer.lines}
    assert {"journal", "phase", "operation_started", "operation_ended"} <= kinds
    ids = [line["id"] for line in answer.lines if line["type"] == "journal"]
    assert ids == sorted(ids)


def test_a_saved_plan_is_applied_once_and_refused_when_it_is_stale(opsflow: Program) -> None:
    file = opsflow.root / "plan.json"
    assert opsflow("plan", "shop", "--out", str(file)).code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert opsflow("up", "shop", "--plan", str(file)).code == 0
    assert statuses(opsflow)["app1"] == "online"
    answer = opsflow("up", "shop", "--plan", str(file), "-y")
    assert answer.code == 65
    assert "out of date" in answer.err


def test_a_saved_plan_is_refused_when_what_it_would_deploy_has_changed(opsflow: Program) -> None:
    file = opsflow.root / "plan.json"
    assert opsflow("plan", "shop", "--out", str(file)).code == 0
    (opsflow.root / "storefront/index.html").write_text("other\n")
    answer = opsflow("up", "shop", "--plan", str(file))
    assert answer.code == 65
    assert "the source of storefront (" in answer.err
    (opsflow.root / "storefront/index.html").write_text("hello\n")
    assert opsflow("up", "shop", "--plan", str(file)).code == 0


def test_a_file_that_is_no_plan_is_refused(opsflow: Program) -> None:
    file = opsflow.root / "plan.json"
    file.write_text("{}")
    assert opsflow("up", "shop", "--plan", str(file)).code == 64
    opsflow("plan", "shop", "--out", str(file))
    file.write_text(file.read_text().replace('"stack": "shop"', '"stack": "other"'))
    answer = opsflow("up", "shop", "--plan", str(file))
    assert answer.code == 64
    assert "'other'" in answer.err


# ------------------------------------------------------------------------------------------------ failing


def test_a_failing_recipe_is_1_with_the_error_and_the_retry_command_last(opsflow: Program) -> None:
    opsflow.engine.fail("app2", "web.setup", error="E: no such package")
    answer = opsflow("up", "shop", "-y")
    assert answer.code == 1
    assert statuses(opsflow) == {"lb1": "online", "app1": "online", "app2": "setup_failed"}
    last = answer.err.splitlines()
    assert last[-1] == "Retry with: opsflow runs retry 1 --failed"
    assert "First error: setup on app2" in last
    assert any("E: no such package" in line for line in last[last.index("First error: setup on app2") :])
    opsflow.engine.heal()
    assert opsflow("runs", "retry", "1", "--failed").code == 0
    assert statuses(opsflow)["app2"] == "online"


def test_hosts_that_cannot_be_reached_are_69(shop: Program) -> None:
    shop.engine.unreachable("app1", "web.restart")
    answer = shop("run", "shop", "web.restart")
    assert answer.code == 69
    assert "unreachable" in answer.err


def test_another_writer_is_75(shop: Program) -> None:
    from opsflow.store.sql import SqlStore

    store = SqlStore(shop.root / ".opsflow" / "state.db", shop.clock)
    with store.lease("ada@laptop pid 7: opsflow up shop"):
        answer = shop("run", "shop", "configure")
        assert answer.code == 75
        assert "ada@laptop pid 7" in answer.err
        assert shop("status", "shop").code == 0
        assert shop("plan", "shop").code == 0
    store.close()


def test_a_run_that_was_cut_off_is_reported_by_the_next_command(shop: Program) -> None:
    from opsflow.model.command import Command, CommandStatus, CommandType, Run
    from opsflow.model.journal import JournalEntry
    from opsflow.ports import Changes
    from opsflow.store.sql import SqlStore

    now = shop.clock.now()
    run = Run(id="2", stack="shop", action="run", created_at=now)
    command = Command(
        id="c-cut-off", run="2", stack="shop", instance="app1", type=CommandType.CONFIGURE, created_at=now,
        status=CommandStatus.RUNNING,
    )  # fmt: skip
    store = SqlStore(shop.root / ".opsflow" / "state.db", shop.clock)
    with store.lease("somebody who was killed") as lease:
        assert store.next_run_id(lease) == "2"
        entry = JournalEntry(at=now, stack="shop", kind="command.started", message="configure started")
        store.commit(lease, Changes(entries=[entry], runs=[run], commands=[command]))
    store.close()
    answer = shop("run", "shop", "web.restart")
    assert "run 2 was interrupted: configure on app1" in answer.err
    assert shop("runs", "show", "2", "--json").json["status"] == "interrupted"


# ------------------------------------------------------------------------------------------------ run


def test_run_fires_an_event_on_the_chosen_instances(shop: Program) -> None:
    answer = shop("run", "shop", "configure", "--layer", "app", "--exclude", "app2", "--json")
    assert answer.code == 0
    assert [(entry["name"], entry["event"]) for entry in answer.json["instances"]] == [("app1", "configure")]


def test_run_runs_recipes_in_order_with_attributes(shop: Program) -> None:
    answer = shop("run", "shop", "web.restart", "web.configure", "--only", "app1", "--set", "app.workers=9")
    assert answer.code == 0
    job = shop.engine.jobs[-1]
    assert job.recipes == ("web.restart", "web.configure")
    assert job.node.attributes["app"]["workers"] == 9


def test_check_changes_nothing_and_says_what_would(opsflow: Program) -> None:
    opsflow("up", "shop", "-y")
    answer = opsflow("run", "shop", "web.restart", "--check", "--only", "app1")
    assert answer.code == 0
    assert "would change" in answer.err
    assert opsflow("run", "shop", "web.restart", "--only", "app1", "--json").json["instances"][0]["operations"][0][
        "changed"
    ]


def test_serial_and_fail_percent_stop_a_rollout(shop: Program) -> None:
    shop.engine.fail("app1", "web.restart")
    answer = shop("run", "shop", "web.restart", "--layer", "app", "--serial", "1", "--fail-percent", "0")
    assert answer.code == 1
    assert ("app2", "web.restart") not in shop.engine.ran


def test_the_header_says_what_is_run_from_which_files(shop: Program) -> None:
    answer = shop("run", "shop", "web.restart", "-v", "--set", "a.b=1")
    assert "command:    opsflow -C" in answer.err
    assert "stack file: " in answer.err
    assert "shop.yml (sha256 " in answer.err


# ------------------------------------------------------------------------------------------------ apps


def test_deploy_undeploy_and_rollback(shop: Program) -> None:
    before = shop("status", "shop", "--json").json["instances"][1]["apps"]["storefront"]["release"]
    (shop.root / "storefront" / "index.html").write_text("second\n")
    assert shop("deploy", "shop", "storefront", "-y").code == 0
    after = shop("status", "shop", "--json").json["instances"][1]["apps"]["storefront"]["release"]
    assert before != after
    assert shop("rollback", "shop", "storefront").code == 0
    assert shop("status", "shop", "--json").json["instances"][1]["apps"]["storefront"]["release"] == before
    assert shop("undeploy", "shop", "storefront").code == 0
    assert shop("status", "shop", "--json").json["instances"][1]["apps"] == {}


# ------------------------------------------------------------------------------------------------ machines


def test_stop_start_and_reboot(shop: Program) -> None:
    assert shop("stop", "shop", "app1", "-y").code == 0
    assert statuses(shop) == {"lb1": "online", "app1": "stopped", "app2": "online"}
    note = shop("status", "shop", "--json").json["instances"][1]
    assert note["note"] != "not created"
    assert shop("start", "shop", "--only", "app1").code == 0
    assert statuses(shop)["app1"] == "online"
    assert shop("reboot", "shop", "app*").code == 0
    assert statuses(shop) == {"lb1": "online", "app1": "online", "app2": "online"}


def test_machines_that_nobody_can_switch_on_and_off(shop: Program) -> None:
    shop.provider.powers = False
    answer = shop("reboot", "shop", "app1")
    assert answer.code == 1
    assert answer.err == (
        "error: opsflow cannot restart machines of the provider 'fake'\n"
        "hint: opsflow exec shop --only app1 -- reboot; when it answers again: opsflow up shop\n"
    )
    assert "only NAME -- reboot" in shop("reboot", "shop").err
    assert [run["action"] for run in shop("runs", "list", "--json").json] == ["up"]
    stopped = shop("stop", "shop", "app1")
    assert stopped.code == 0
    assert "note: the provider 'fake' cannot switch machines off: the shutdown recipes run" in stopped.err
    assert "only opsflow's record changes" in stopped.err
    started = shop("start", "shop", "app1")
    assert started.code == 0
    assert "note: the provider 'fake' cannot switch machines on: the setup recipes run" in started.err


def test_destroy_without_a_terminal_only_shows_what_it_would_do(shop: Program) -> None:
    answer = shop("destroy", "shop")
    assert answer.code == 0
    assert "terminate app1" in answer.out
    assert "Use -y to do it." in answer.err
    assert statuses(shop)["app1"] == "online"


def test_destroy_leaves_no_machine(shop: Program) -> None:
    assert shop("destroy", "shop", "-y").code == 0
    assert shop.provider.list("shop") == []
    answer = shop("status", "shop", "--json")
    assert {instance["note"] for instance in answer.json["instances"]} == {"not created"}


@pytest.mark.parametrize("argv", [("up", "shop", "-y"), ("destroy", "shop", "-y")])
def test_nothing_to_do_is_0(argv: tuple[str, ...], opsflow: Program) -> None:
    opsflow("up", "shop", "-y")
    if argv[0] == "destroy":
        opsflow(*argv)
    answer = opsflow(*argv)
    assert answer.code == 0
    assert json.loads(opsflow("runs", "list", "--json").out)
