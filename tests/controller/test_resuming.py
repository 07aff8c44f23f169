"""The next attempt at a command whose controller died is told which one that was."""

from datetime import timedelta

import pytest
from controller_world import ControllerWorld, shop

from opsflow.model.command import CommandType
from opsflow.model.events import LifecycleEvent

LAYERS = {"app": {"recipes": ["base"], "instances": {"app1": {}}}}


class Killed(BaseException):
    """The end of the process, which nothing below may handle."""


class Deadly:
    """An engine in whose run the process dies, or that has something to tell of an earlier run."""

    def __init__(self, inner, *, dies_on: str = "", resumed: str = "") -> None:
        self._inner, self._dies_on, self._resumed = inner, dies_on, resumed

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def run(self, job, observe, cancel):
        if job.node.event.type == self._dies_on:
            raise Killed
        result = self._inner.run(job, observe, cancel)
        return result.model_copy(update={"resumed": self._resumed})


@pytest.fixture
def world() -> ControllerWorld:
    return ControllerWorld(shop(layers=LAYERS))


def up(controller):
    return controller.apply(controller.plan_up())


def setup(controller):
    return controller.run_event(LifecycleEvent.SETUP)


def run(world, engine, action) -> None:
    with world.controller(engine=engine) as controller:
        controller.recover()
        action(controller)


def killed_in(world, event, action=up) -> str:
    """The process dies in the middle of a command of that type; the command's id."""
    with pytest.raises(Killed):
        run(world, Deadly(world.engine, dies_on=event), action)
    return [command.id for command in world.store.commands(stack="shop") if command.type.value == event][-1]


def jobs(world, event):
    return [job for job in world.engine.jobs if job.node.event.type == event]


def test_the_next_attempt_names_the_one_that_was_broken_off(world):
    broken = killed_in(world, "setup")
    world.up()
    assert [job.resumes for job in jobs(world, "setup")] == [(broken,)]
    assert [job.resumes for job in jobs(world, "configure")] == [()]


def test_killed_again_and_again(world):
    first, second, third = (killed_in(world, "setup") for _ in range(3))
    world.up()
    assert jobs(world, "setup")[-1].resumes == (third, second, first)


def test_whoever_looks_meanwhile_takes_nothing_away(world):
    broken = killed_in(world, "setup")
    with world.controller() as controller:
        controller.recover()
    world.up()
    assert jobs(world, "setup")[-1].resumes == (broken,)


def test_after_an_end_it_begins_anew(world):
    killed_in(world, "setup")
    world.up()
    world.do(setup)
    assert jobs(world, "setup")[-1].resumes == ()


def test_a_failure_is_an_end(world):
    killed_in(world, "setup")
    world.engine.fail("app1", times=1)
    world.up()
    world.do(setup)
    assert jobs(world, "setup")[-1].resumes == ()


def test_another_event_is_another_matter(world):
    world.up()
    killed_in(world, "configure", lambda controller: controller.run_event(LifecycleEvent.CONFIGURE))
    world.do(setup)
    assert jobs(world, "setup")[-1].resumes == ()


def test_recipes_are_taken_up_where_the_same_are_asked_for(world):
    world.up()
    broken = killed_in(world, "execute_recipes", lambda controller: controller.run_recipes(["base.setup"]))
    world.do(lambda controller: controller.run_recipes(["base.configure"]))
    assert jobs(world, "execute_recipes")[-1].resumes == ()
    world.do(lambda controller: controller.run_recipes(["base.setup"]))
    assert jobs(world, "execute_recipes")[-1].resumes == (broken,)


def test_what_is_long_ago_is_not_taken_up(world):
    killed_in(world, "setup")
    world.clock.advance(timedelta(days=2).total_seconds())
    world.up()
    assert jobs(world, "setup")[-1].resumes == ()


def test_what_the_host_told_is_in_the_journal(world):
    killed_in(world, "setup")
    run(world, Deadly(world.engine, resumed="'Base': done in run 1"), up)
    told = [entry for entry in world.store.journal("shop") if entry.kind == "command.resumed"]
    assert told[0].message == "setup on app1 went on from an earlier run: 'Base': done in run 1"
    assert CommandType.SETUP in {command.type for command in world.store.commands(run=told[0].run)}
