"""What the planner keeps of pyinfra's results is what pyinfra itself would have worked out."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import inspect, itertools, sys
import pyinfra.api.arguments as arguments, pyinfra.api.inventory as inventory
from opsflow.engine import quick
before = arguments.all_global_arguments(), inventory.get_all_connectors(), inventory.get_execution_connectors()
quick.install()
assert before == (
    arguments.all_global_arguments(), inventory.get_all_connectors(), inventory.get_execution_connectors()
)

operation, facts = sys.modules["pyinfra.api.operation"], sys.modules["pyinfra.api.facts"]
assert operation.pop_global_arguments is facts.pop_global_arguments is quick.arguments
assert operation.signature is not inspect.signature

from pyinfra.context import ctx_config, ctx_host
from opsflow.engine import adapter

def both(data, config, outer, kwargs):
    results = []
    for function in (quick.slow_arguments, quick.arguments, quick.arguments):
        state = adapter.make_state("h1", ("web",), data, ("/",))
        host = next(iter(state.inventory))
        for key, value in config.items():
            setattr(state.config, key, value)
        left = dict(kwargs)
        with ctx_host.use(host), ctx_config.use(state.config):
            function(state, host, {})
            host.current_deploy_kwargs = outer
            try:
                found, keys = function(state, host, left)
            except Exception as error:
                results.append((type(error), str(error)))
            else:
                results.append((found, list(found), keys, left))
    assert results[0] == results[1] == results[2], results

DATA = [{}, {"port": 1}, {"_sudo": True}]
CONFIG = [{}, {"SUDO": True, "ENV": {"A": "1"}}, {"RETRY": 3}]
OUTER = [None, {}, {"_sudo_user": "u", "_env": {"B": 2}}, {"_timeout": "x"}]
KWARGS = [
    {}, {"path": "/x", "_sudo": True}, {"_env": {"C": "3"}, "_chdir": "/tmp"}, {"_sudo": 5}, {"_env": 7},
    {"_success_exit_codes": [0, 1], "other": 2, "_if": len}, {"_shell_executable": None}, {"_sudo_user": None},
]
for case in itertools.product(DATA, CONFIG, OUTER, KWARGS):
    both(*case)

from pyinfra.context import host as whichever

state = adapter.make_state("h1", ("web",), {}, ("/",))
with ctx_host.use(next(iter(state.inventory))), ctx_config.use(state.config):
    left = dict(vars(whichever))
    quick.arguments(state, whichever, {})
    assert dict(vars(whichever)) == left, "it stands for every host in turn"

class Fact:
    def command(self, path, mode="x", *, deep=False): ...
    def plain(self, path, mode="x"): ...

for function in (Fact().command, Fact().plain, len):
    for args, kwargs in [((), {}), (("a",), {}), (("a", "b"), {}), (("a",), {"mode": 1}), (("a",), {"path": 1}),
                         ((), {"path": 1}), (("a", "b", "c"), {}), (("a",), {"deep": True}), ((), {"none": 1})]:
        found = []
        for way in (inspect.getcallargs, quick.call_arguments):
            try:
                found.append({k: v for k, v in way(function, *args, **kwargs).items() if k != "self"})
            except TypeError as error:
                found.append(str(error))
        assert found[0] == found[1], (function, args, kwargs, found)

import shlex
for text in ("a b", "a 'b c'", "", "a\\\\ b"):
    from pyinfra.api import command
    assert command.shlex.split(text) == shlex.split(text) == command.shlex.split(text)
print("equal")
"""


def test_the_results_are_the_same() -> None:
    # In a process of its own: what is kept belongs to planner processes, not to this one.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout == "equal\n", done.stderr[-3000:]
