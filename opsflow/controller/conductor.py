"""Runs the jobs of one request in parallel and sends configures meanwhile, until all is quiet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType

from opsflow.controller.configures import Configures
from opsflow.controller.executor import Executor
from opsflow.controller.places import Place
from opsflow.controller.work import Work

Job = Callable[[], None]
MOST_THREADS = 100_000
SLICE = 0.1
"""Seconds slept at once, so that a cancel is noticed soon."""


class Conductor:
    """A pool of threads and the queue of configures."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._changed = threading.Condition(threading.RLock())
        self.executor = Executor(work)
        self.configures = Configures(work, self.executor, self._changed)
        self._places = work.places
        # A thread for each job that has begun: how many these are is for the places to say.
        self._pool = ThreadPoolExecutor(max_workers=MOST_THREADS, thread_name_prefix="opsflow")
        self._active = 0
        self._error: BaseException | None = None
        work.records.on_membership = self.configures.membership_changed
        work.records.on_rebooted = self.configures.rebooted

    def __enter__(self) -> Conductor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._work.cancel.set()
            self._places.close()
        self._pool.shutdown(wait=True)
        self._work.records.on_membership = lambda name, online: None
        self._work.records.on_rebooted = lambda name: None

    def perform(self, jobs: Sequence[Job]) -> None:
        """Run the jobs in parallel; returns when they and all configures that follow from them are over.

        A job that raises breaks the request off, and its exception is raised here: jobs report failures as
        results, so an exception means that nothing more may be written, or a defect.
        """
        for job in jobs:
            self._submit(job)
        while self._step():
            pass
        if self._error is not None:
            raise self._error

    def _step(self) -> bool:
        """One look at the queue; False when all is quiet."""
        if self._work.cancel.is_set():
            self.configures.drop()
        with self._changed:
            due = self.configures.due_in()
            if due != 0.0 and self._active:
                self._wait(due)
                return True
        if due is None:
            return False
        if due == 0.0:
            self.configures.send(self._submit)
        else:
            self._work.parts.clock.sleep(min(due, SLICE))
        return True

    def _wait(self, due: float | None) -> None:
        """Wait for news, at most until a configure is due or a place is to be lent."""
        self._places.lend()
        times = [each for each in (due, self._places.due_in()) if each is not None]
        self._changed.wait(timeout=min(times, default=None))

    def _submit(self, job: Job) -> None:
        with self._changed:
            self._active += 1
        self._places.enter(partial(self._begin, job))

    def _begin(self, job: Job, place: Place) -> None:
        future: Future[None] = self._pool.submit(self._do, job, place)
        future.add_done_callback(self._done)

    def _do(self, job: Job, place: Place) -> None:
        with self._places.taken(place):
            job()

    def _done(self, future: Future[None]) -> None:
        error = future.exception()
        with self._changed:
            self._active -= 1
            if error is not None:
                self._error = self._error or error
                self._work.cancel.set()
            self._changed.notify_all()
