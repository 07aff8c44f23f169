"""The life of a stack in a minute: what `make demo` runs.

It makes the stack of stacks/shop.yml in sandboxes on this machine, in a scratch project, with the real command line,
and checks after every step that what should be true is true. Nothing is left behind, also after ^C.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import sys
import time
import urllib.error
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from demo_stage import STACK, DemoFailed, Stage, bold, command, make_project, paint, processes_in, scratch, traces

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
    stage.edit("directory: ./storefront   #", "git: ./storefront\n      revision: main            #")
    stage.opsflow("up", STACK, "-y")
    stage.check("four instances are online", stage.online() == ["lb1", "app1", "app2", "store1"], stage.instances())
    for name in ("app1", "app2"):
        order = lifecycle(stage.events(), name)
        wanted = ["setup", "deploy", "online", "configure"]
        stage.check(f"{name} went through {' -> '.join(wanted)}", order[:4] == wanted, order)
    pages = stage.pages()
    stage.check("both app instances answer through HAProxy", answered(pages) == ["app1", "app2"], pages)
    stage.check("visits are counted in Redis", counted(pages), pages)


def second_up(stage: Stage) -> None:
    """The same again: there is nothing to do."""
    before = len(stage.events())
    stage.opsflow("up", STACK, "-y")
    stage.check("nothing was done", not ran(stage.events()[before:], "command."), stage.events()[before:])
    stage.opsflow("run", STACK, "configure", "-y")
    stage.check("configure on all changes nothing", not changed(stage.last_run()), changed(stage.last_run()))
    stage.opsflow("deploy", STACK, "storefront", "-y")
    stage.check("the same revision changes nothing", not changed(stage.last_run()), changed(stage.last_run()))


def grow(stage: Stage) -> None:
    """A third app instance: one more line in the stack file."""
    stage.edit("      app2: {}\n", "      app2: {}\n      app3: {}\n")
    stage.opsflow("up", STACK, "-y")
    run = stage.last_run()
    stage.check("only app3 was set up", who(run, "setup") == ["app3"], who(run, "setup"))
    everyone = sorted(stage.online())
    stage.check("configure ran on all five", who(run, "configure") == everyone and len(everyone) == 5, run)
    stage.check("HAProxy has three backends", stage.backends() == ["app1", "app2", "app3"], stage.backends())
    stage.check("all three answer", answered(stage.pages()) == ["app1", "app2", "app3"], stage.answer)


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
    others = sorted(stage.online())
    stage.check(
        "configure ran on the others",
        who(run, "configure") == others == ["app1", "app3", "lb1", "store1"],
        who(run, "configure"),
    )
    stage.check("app2 is stopped", stage.instances()["app2"]["status"] == "stopped", stage.instances()["app2"])
    stage.check("HAProxy has two backends", stage.backends() == ["app1", "app3"], stage.backends())
    stage.check("they serve on", answered(stage.pages()) == ["app1", "app3"], stage.answer)


def broken(stage: Stage) -> None:
    """app2 comes back with a broken recipe: a clear error, and nobody else is disturbed."""
    (stage.project / "recipes" / "broken.py").write_text(BROKEN)
    stage.edit("app2: {}", "app2: {layers: [broken]}  # app too: it runs the recipes of both layers")
    stage.edit("\napps:", BROKEN_LAYER)
    text = stage.opsflow("up", STACK, "-y", expect=1)
    line = BROKEN[: BROKEN.index("server.shell")].count("\n") + 1
    stage.check("the error names the recipe's file and line", f"recipes/broken.py:{line}" in text, text[-500:])
    stage.check("and shows what the command said", "no such disk: /dev/data" in text, text[-500:])
    status = stage.instances()["app2"]["status"]
    stage.check("app2 is setup_failed", status == "setup_failed", status)
    stage.check("the others are online", sorted(stage.online()) == ["app1", "app3", "lb1", "store1"], stage.online())
    stage.check("and serve on", answered(stage.pages()) == ["app1", "app3"], stage.answer)


def destroy(stage: Stage) -> None:
    """Everything goes, with all that belongs to it."""
    addresses = [found["address"] for found in stage.instances().values() if found["address"]]
    namespaces = stage.namespaces()
    stage.opsflow("destroy", STACK, "-y")
    alive = [name for name, found in stage.instances().items() if found["machine"]]
    stage.check("no machine is known any more", not alive, alive)
    alive = processes_in(namespaces)
    stage.check(f"no process of {len(namespaces)} machines is left", bool(namespaces) and not alive, alive)
    left = traces(stage.project)
    stage.check("no mount, disk or address is left", not left, left)
    answering = [address for address in addresses for port in (22, 80, 8080, 6379) if listens(address, port)]
    stage.check(f"none of {len(addresses)} addresses answers", not answering, answering)


STORY: tuple[tuple[str, Callable[[Stage], None]], ...] = (
    ("A stack from nothing: load balancer, two app instances, store", up),
    ("The same again: nothing to do", second_up),
    ("A third app instance joins", grow),
    ("A new revision is deployed", deploy),
    ("It is rolled back", rollback),
    ("One instance stops", stop),
    ("It comes back with a broken recipe", broken),
)


def ran(entries: list[dict[str, Any]], prefix: str) -> list[str]:
    """Kinds of journal entries that begin with ``prefix``."""
    return [entry["kind"] for entry in entries if entry["kind"].startswith(prefix)]


def lifecycle(entries: list[dict[str, Any]], instance: str) -> list[str]:
    """What happened to an instance, in order: the events that succeeded, and ``online``."""
    found = []
    for entry in entries:
        if entry["instance"] == instance:
            if entry["kind"] == "command.successful":
                found.append(entry["data"]["type"])
            elif entry["kind"] == "instance.online":
                found.append("online")
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


def listens(address: str, port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as link:
        link.settimeout(1)
        return link.connect_ex((address, port)) == 0


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
    """Delete the scratch project, unless something in it is still alive: deleting would not end it."""
    if left := traces(project):
        print(f"\nStill there, so {project} is kept:", *left, sep="\n  ", file=sys.stderr)
        print(f"Try: {command()[0]} --project {project} destroy {STACK} -y", file=sys.stderr)
        return
    shutil.rmtree(project, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
