"""Events, instance states, run lists, who an event reaches, coalescing: pure."""

from opsflow.lifecycle.reach import Targets
from opsflow.lifecycle.runlists import layers_run_list, run_list
from opsflow.lifecycle.states import Trigger, can_reboot, can_setup, can_start, can_stop, transition

__all__ = [
    "Targets",
    "Trigger",
    "can_reboot",
    "can_setup",
    "can_start",
    "can_stop",
    "layers_run_list",
    "run_list",
    "transition",
]
