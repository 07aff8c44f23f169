"""Use cases: apply, start, stop, deploy, run, recover."""

from opsflow.controller.aftermath import settle
from opsflow.controller.context import Observer, Outcome, RunOptions, StackContext
from opsflow.controller.controller import Controller
from opsflow.controller.observing import other_machines, seen
from opsflow.lifecycle.reach import Targets

__all__ = [
    "Controller",
    "Observer",
    "Outcome",
    "RunOptions",
    "StackContext",
    "Targets",
    "other_machines",
    "seen",
    "settle",
]
