"""A command on many instances: in batches, and not further when too many have failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from opsflow.controller.conductor import Conductor
from opsflow.controller.context import RunOptions
from opsflow.controller.work import Work
from opsflow.model.command import CommandStatus
from opsflow.planning import batches, fail_limit_exceeded
from opsflow.planning.rollout import batch_size, check_percent


def check_options(options: RunOptions) -> None:
    """Refuse options that make no sense, before anything is done.

    Raises:
        UsageError: a batch size or a percentage that is none.
    """
    batch_size(options.serial, 1)
    check_percent(options.fail_percent)


class Rollout:
    """Takes instances batch by batch; configures of one batch are over before the next begins."""

    def __init__(self, work: Work, conductor: Conductor, names: Sequence[str]) -> None:
        self._work = work
        self._conductor = conductor
        self._names = tuple(names)
        self._why_stopped = ""

    def go(self, job: Callable[[str], object]) -> None:
        """Do ``job`` for every instance; the commands of those that are not reached are cancelled."""
        for batch in batches(self._names, self._work.options.serial):
            if self._why_stopped or self._work.cancel.is_set():
                break
            self._conductor.perform([partial(self._one, job, name) for name in batch])
            self._judge(batch)
        why = self._why_stopped or "cancelled before it began"
        self._work.close(self._work.pending(), CommandStatus.CANCELLED, why)

    def _one(self, job: Callable[[str], object], name: str) -> None:
        if not self._stopped():
            job(name)

    def _judge(self, batch: Sequence[str]) -> None:
        """A batch of which nobody came through ends a rollout in batches, also without a limit."""
        last = len(batch) == len(self._names)
        if not self._stopped() and not last and len(self._work.failed(batch)) == len(batch):
            self._why_stopped = f"not begun: everything failed on {', '.join(batch)}"

    def _stopped(self) -> bool:
        percent = self._work.options.fail_percent
        if percent is None:
            return bool(self._why_stopped)
        failed = len(self._work.failed(self._names))
        if fail_limit_exceeded(failed, len(self._names), percent):
            self._why_stopped = f"not begun: {failed} of {len(self._names)} failed, more than {percent:g} %"
        return bool(self._why_stopped)
