"""The life of a stack in a minute: what `make demo` runs.

It makes the stack of stacks/shop.yml in sandboxes on this machine, in a scratch project, with the real command line,
and checks after every step that what should be true is true. Nothing is left behind, also after ^C.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
import urllib.error
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import preflight
from demo_stage import (
    STACK,
    DemoFailed,
    Stage,
    answering,
    bold,
    command,
    end_sandboxes,
    make_project,
    paint,
    processes_of,
    scratch,
    traces,
)

DIRECTORY = """\
      directory: ./storefront   # or a git repository and revision, or an archive
"""
GIT = """\
      git: ./storefront         # the demo commits new versions of the app there
      revision: main
"""
BROKEN = '''"""A recipe with a mistake, on purpose."""

from pyinfra.operations import server

from opsflow import Node


def setup(node: Node) -> None:
    server.shell(name="Mount the data disk", commands=["echo 'no such disk: /dev/data' >&2; exit 3"])
'''
BROKEN_LAYER = """
  broken:
    recipes: [broken]

apps:"""


def up(stage: Stage) -> None:
    """A load balancer, two app instances and a store, from nothing."""
    stage.commit("The shop opens")
    stage.edit(DIRECTORY, GIT)
    stage.opsflow("up", STACK, "-y")
    found = online(stage)
    stage.check("four instances are online", found == ["app1", "app2", "lb1", "store1"], found)
    events, run = stage.events(), stage.last_run()
    for name in ("app1", "app2"):
        order = lifecycle(events, run, name)
        wanted = ["setup", "deploy", "online", "configure"]
        stage.check(f"{name} went through {' -> '.join(wanted)}", order[:4] == wanted, order)
    pages = stage.pages()
    stage.check("both app instances answer through HAProxy", answered(pages) == ["app1", "app2"], pages)
    stage.check("visits are counted in Redis", counted(pages), pages)


def second_up(stage: Stage) -> None:
    """The same again: there is nothing to do."""
    stage.opsflow("up", STACK, "-y")
    stage.check("nothing was done", not stage.run, stage.run)
    stage.opsflow("run", STACK, "configure", "-y")
    run = stage.last_run()
    stage.check("configure ran on all and changed nothing", len(run) == 4 and not changed(run), changed(run))
    stage.opsflow("deploy", STACK, "storefront", "-y")
    run = stage.last_run()
    stage.check("the same revision again changed nothing", len(run) == 2 and not changed(run), changed(run))


def grow(stage: Stage) -> None:
    """A third app instance: one more line in the stack file."""
    stage.edit("      app2: {}\n", "      app2: {}\n      app3: {}\n")
    stage.opsflow("up", STACK, "-y")
    run = stage.last_run()
    stage.check("only app3 was set up", who(run, "setup") == ["app3"], who(run, "setup"))
    told, everyone = who(run, "configure"), ["app1", "app2", "app3", "lb1", "store1"]
    stage.check("configure ran on all five", told == everyone == online(stage), told)
    backends = stage.backends()
    stage.check("HAProxy has three backends", backends == ["app1", "app2", "app3"], backends)
    pages = stage.pages()
    stage.check("all three answer", answered(pages) == ["app1", "app2", "app3"], pages)


def deploy(stage: Stage) -> None:
    """A new revision of the app: a commit, and one command."""
    (stage.project / "storefront" / "VERSION").write_text("2\n")
    revision = stage.commit("Version 2")
    stage.opsflow("deploy", STACK, "storefront", "-y")
    pages = stage.pages()
    stage.check("version 2 answers everywhere", versions(pages) == {"2"}, pages)
    deployed = {found["apps"]["storefront"]["revision"] for found in stage.instances().values() if found["apps"]}
    stage.check(f"status shows commit {revision[:7]}", deployed == {revision}, deployed)
    before = {page["instance"]: page["visits"] for page in pages}
    stage.check("the counter went on", min(before.values()) > 12, before)


def rollback(stage: Stage) -> None:
    """Back to the release before."""
    stage.opsflow("rollback", STACK, "storefront", "-y")
    pages = stage.pages()
    stage.check("version 1 answers everywhere again", versions(pages) == {"1"}, pages)


def stop(stage: Stage) -> None:
    """One instance stops: it says good-bye, the others are told."""
    stage.opsflow("stop", STACK, "app2", "-y")
    run = stage.last_run()
    stage.check("app2's shutdown recipes ran", who(run, "shutdown") == ["app2"], run)
    instances, told = stage.instances(), who(run, "configure")
    stage.check("configure ran on the others", told == ["app1", "app3", "lb1", "store1"], told)
    stage.check("app2 is stopped", instances["app2"]["status"] == "stopped", instances["app2"])
    backends, pages = stage.backends(), stage.pages()
    stage.check("HAProxy has two backends", backends == ["app1", "app3"], backends)
    stage.check("they serve on", answered(pages) == ["app1", "app3"], pages)


def broken(stage: Stage) -> None:
    """app2 comes back with a broken recipe: a clear error, and nobody else is disturbed."""
    (stage.project / "recipes" / "broken.py").write_text(BROKEN)
    stage.edit("app2: {}", "app2: {layers: [broken]}  # app too: it runs the recipes of both layers")
    stage.edit("\napps:", BROKEN_LAYER)
    text = stage.opsflow("up", STACK, "-y", expect=1)
    line = BROKEN[: BROKEN.index("server.shell")].count("\n") + 1
    stage.check("the error names the recipe's file and line", f"recipes/broken.py:{line}" in text, text[-500:])
    stage.check("and shows what the command said", "no such disk: /dev/data" in text, text[-500:])
    status = {name: found["status"] for name, found in stage.instances().items()}
    stage.check("app2 is setup_failed", status.pop("app2") == "setup_failed", status)
    stage.check("the others are online", set(status.values()) == {"online"} and len(status) == 4, status)
    pages = stage.pages()
    stage.check("and serve on", answered(pages) == ["app1", "app3"], pages)


def destroy(stage: Stage) -> None:
    """Everything goes, with all that belongs to it."""
    addresses = list(stage.addresses.values())
    ids = stage.machine_ids() if addresses else set()
    stage.opsflow("destroy", STACK, "-y")
    known = [name for name, found in stage.instances().items() if found["machine"]]
    stage.check("no machine is known any more", not known, known)
    alive, left = processes_of(ids), traces(stage.project)
    stage.check(f"no process of {len(ids)} machines is left", len(ids) == len(addresses) and not alive, alive)
    stage.check("no mount, disk or address is left", not left, left)
    alive = answering(addresses, (22, 80, 6379, 8080))
    stage.check(f"none of {len(addresses)} addresses answers", not alive, alive)


STORY: tuple[tuple[str, Callable[[Stage], None]], ...] = (
    ("A stack from nothing: load balancer, two app instances, store", up),
    ("The same again: nothing to do", second_up),
    ("A third app instance joins", grow),
    ("A new revision is deployed", deploy),
    ("It is rolled back", rollback),
    ("One instance stops", stop),
    ("It comes back with a broken recipe", broken),
)


def online(stage: Stage) -> list[str]:
    """Names of the online instances."""
    return sorted(name for name, instance in stage.instances().items() if instance["status"] == "online")


def lifecycle(entries: list[dict[str, Any]], run: list[dict[str, Any]], instance: str) -> list[str]:
    """What happened to an instance, by the journal: the events that succeeded and ``online``, in order."""
    events = {entry["command"]: entry["event"] for entry in run}
    found = []
    for entry in entries:
        if entry["instance"] == instance and entry["kind"] == "instance.online":
            found.append("online")
        if entry["instance"] == instance and entry["kind"] == "command.successful":
            found.append(events[entry["command"]])
    return found


def changed(run: list[dict[str, Any]]) -> list[str]:
    """The operations of a run that changed something."""
    return [f"{entry['name']}: {done['name']}" for entry in run for done in entry["operations"] if done["changed"]]


def who(run: list[dict[str, Any]], event: str) -> list[str]:
    """The instances on which an event succeeded in a run."""
    return sorted({entry["name"] for entry in run if entry["event"] == event and entry["status"] == "successful"})


def answered(pages: list[dict[str, Any]]) -> list[str]:
    """The instances that gave these pages."""
    return sorted({page["instance"] for page in pages})


def versions(pages: list[dict[str, Any]]) -> set[str]:
    """The versions of the app that gave these pages."""
    return {page["version"] for page in pages}


def counted(pages: list[dict[str, Any]]) -> bool:
    """Whether each visit is one more than the visit before."""
    return all(later["visits"] == earlier["visits"] + 1 for earlier, later in pairwise(pages))


def play(stage: Stage, *, keep: bool) -> bool:
    """Tell the story; whatever happens, take the stack down at the end. Returns whether all went well."""
    well = False
    try:
        for headline, chapter in STORY:
            with stage.step(headline):
                chapter(stage)
        well = True
    except (DemoFailed, urllib.error.URLError, OSError, KeyError, ValueError) as error:
        stage.check("the story goes on", False, f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        stage.check("the story was interrupted", False)
    if keep and well:
        return well
    try:
        with stage.step("Everything is destroyed"):
            destroy(stage)
    except (DemoFailed, OSError, KeyError, ValueError) as error:
        stage.check("everything is destroyed", False, error)
    return well


def summary(stage: Stage) -> None:
    """What was checked, and how long it took."""
    failed = [check for check in stage.checks if not check.passed]
    print(f"\n{bold('Checks')}")
    for check in stage.checks:
        print(f"  {paint('32', 'ok    ') if check.passed else paint('31', 'FAILED')}  {check.text}")
    if stage.answer:
        print(f"\n{bold('The last page of the shop')}\n  {stage.answer}")
    took = time.monotonic() - stage.started
    result = f"{len(failed)} of {len(stage.checks)} checks failed" if failed else f"all {len(stage.checks)} checks hold"
    print(f"\n{paint('31' if failed else '32', result)}, {took:.1f} s")


def farewell(stage: Stage) -> None:
    """How to look at a stack that is kept."""
    opsflow = f"{command()[0]} --project {stage.project}"
    print(f"\nThe stack runs on, in {stage.project}:")
    print(f"  curl http://{stage.instances()['lb1']['address']}/")
    print(f"  {opsflow} status {STACK}")
    print(f"  {opsflow} ssh {STACK} app1")
    print(f"Take it down with:\n  {opsflow} destroy {STACK} -y && rm -r {stage.project}")


def main() -> int:
    """Play the demo; 0 when everything was as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave the stack running at the end")
    keep = parser.parse_args().keep
    if preflight.main():
        return 1
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    stage = Stage(scratch())
    kept = False
    try:
        make_project(stage.project)
        kept = play(stage, keep=keep) and keep
        summary(stage)
        if kept:
            farewell(stage)
    finally:
        if not kept:
            clean_up(stage.project)
    return 0 if all(check.passed for check in stage.checks) else 1


def clean_up(project: Path) -> None:
    """Delete the scratch project. What `opsflow destroy` could not end, the provider ends: nothing may stay behind."""
    if traces(project):
        end_sandboxes(project)
    if left := traces(project):
        print(f"\nStill there, so {project} is kept:", *left, sep="\n  ", file=sys.stderr)
        return
    shutil.rmtree(project, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
