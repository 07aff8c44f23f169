"""Plans from recipes, with scripted answers to facts: positions, assumptions, and what happened replayed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from engine_doubles import Recipes, scripts, snapshot

from opsflow.engine.messages import (
    CommandAnswer,
    CommandStep,
    FactAnswer,
    FactStep,
    HostPlan,
    OperationState,
    Outcome,
    PlannedOperation,
)
from opsflow.model.result import Reads


def states(plan: HostPlan) -> list[str]:
    return [operation.state.value for operation in plan.operations]


def happened(operation: PlannedOperation, *answers: CommandAnswer | FactAnswer) -> tuple[Outcome, ...]:
    return tuple(
        Outcome(step=step.identity, fact=answer)
        if isinstance(answer, FactAnswer)
        else Outcome(step=step.identity, command=answer)
        for step, answer in zip(operation.steps, answers, strict=False)
    )


def after(
    recipes: Recipes, plan: HostPlan, name: str, *outcomes: Sequence[Outcome], done: int, **known: str
) -> HostPlan:
    """The next plan, when this has happened."""
    return recipes.settle(
        name,
        answer=lambda key: known.get("answer", ""),
        trace=tuple(tuple(items) for items in outcomes),
        began=tuple(operation.identity for operation in plan.operations[: len(outcomes)]),
        done=done,
        prepared={},
    )


class TestOperations:
    def test_where_they_come_from(self, recipes: Recipes) -> None:
        file = recipes.write(
            "web.py", "def helper():\n    files.directory(path='/srv')\ndef setup(node):\n    helper()\n"
        )
        recipes.write("base.py", "def setup(node):\n    server.shell(name='Say', commands='echo')\n")
        plan = recipes.settle("base.setup", "web.setup")
        first, second = plan.operations
        assert (first.name, first.operation, first.recipe, first.line) == ("Say", "server.shell", "base.setup", 4)
        assert (second.operation, second.recipe, second.file, second.line) == (
            "files.directory", "web.setup", str(file), 4
        )  # fmt: skip

    def test_arguments_of_one_command(self, recipes: Recipes) -> None:
        recipes.write(
            "web.py",
            """
            def setup(node):
                server.shell(commands='id', _timeout=7, _success_exit_codes=[0, 3], _ignore_errors=True, _chdir='/a b')
            """,
        )
        plan = recipes.settle("web.setup")
        step = plan.operations[0].steps[0]
        assert isinstance(step, CommandStep)
        assert (step.timeout, step.success_codes, step.script) == (7, (0, 3), "cd '/a b' && id")
        assert plan.operations[0].ignore_errors

    def test_missing_facts_of_all_operations_are_found_together(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    for n in 'abc':\n        files.directory(path='/srv/' + n)\n")
        plan = recipes.plan("web.setup")
        assert states(plan) == ["missing"] * 3
        assert len(plan.missing) == 3

    def test_host_data_and_groups(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    print(host.name, host.groups, host.data.port)\n")
        plan = recipes.settle("web.setup", node=snapshot(attributes={"port": 80}))
        assert plan.output.startswith("web1 ['web'")
        assert plan.output.endswith("80\n")

    def test_reads(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    node.stack.layer('web').online\n    node.get('x', 1)\n")
        assert recipes.settle("web.setup").reads == Reads(layers=("web",), instances=("web1",), attributes=("x",))

    def test_a_deploy(self, recipes: Recipes) -> None:
        recipes.write(
            "web.py",
            """
            from pyinfra.api import deploy

            @deploy("Install")
            def install(what):
                server.shell(name="Step", commands=f"echo {what}")

            def setup(node):
                install("it", _chdir="/srv")
            """,
        )
        operation = recipes.settle("web.setup").operations[0]
        assert operation.name == "Install | Step"
        assert operation.steps[0].identity
        assert operation.line == 8

    def test_loops(self, recipes: Recipes) -> None:
        recipes.write(
            "web.py",
            """
            def setup(node):
                for n in host.loop([1, 2, 3]):
                    server.shell(name="Same", commands=f"echo {n}")
            """,
        )
        assert scripts(recipes.settle("web.setup")) == [["echo 1"], ["echo 2"], ["echo 3"]]

    def test_an_operation_of_ones_own(self, recipes: Recipes) -> None:
        recipes.write(
            "web.py",
            """
            from pyinfra.api import operation
            from pyinfra.facts.server import Hostname

            @operation()
            def greet(who):
                if host.get_fact(Hostname) == who:
                    yield f"echo hello {who}"
                    yield from server.shell._inner(commands=["echo again"])

            def setup(node):
                greet("a")
                greet("b")
            """,
        )
        plan = recipes.settle("web.setup", answer=lambda key: "a\n")
        assert [len(steps) for steps in scripts(plan)] == [3, 1]
        assert plan.operations[0].operation == "web.greet"


class TestFiles:
    def test_templates_beside_the_recipe(self, recipes: Recipes) -> None:
        recipes.write("web/__init__.py", "def setup(node):\n    files.template(src='site.j2', dest='/s', x=1)\n")
        recipes.write("web/site.j2", "{% include 'part.j2' %}-{{ x }}")
        recipes.write("web/part.j2", "part {{ host.name }}")
        plan = recipes.settle("web.setup")
        assert scripts(plan)[0][-1] == "/s=part web1-1"

    def test_relative_sources_and_the_working_directory(self, recipes: Recipes) -> None:
        recipes.write(
            "a/__init__.py", "def setup(node):\n    files.put(src='f', dest='/a')\n    print(open('f').read())\n"
        )
        recipes.write(
            "b/__init__.py", "import a\ndef setup(node):\n    files.put(src='f', dest='/b')\n    a.setup(node)\n"
        )
        recipes.write("a/f", "of a")
        recipes.write("b/f", "of b")
        plan = recipes.settle("a.setup", "b.setup")
        assert [steps[-1] for steps in scripts(plan)] == ["/a=of a", "/b=of b", "/a=of a"]

    def test_a_missing_source(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    files.put(src='nosuch', dest='/a')\n")
        plan = recipes.settle("web.setup")
        text = plan.failure.message if plan.failure else plan.operations[0].error
        assert "nosuch" in text

    def test_an_undefined_name_in_a_template(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    files.template(src='x.j2', dest='/a')\n")
        recipes.write("x.j2", "line\n{{ nothing }}")
        operation = recipes.settle("web.setup").operations[0]
        assert operation.state is OperationState.FAILED
        assert "'nothing' is undefined" in operation.error

    def test_large_files_stay_where_they_are(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    files.put(src='big', dest='/a')\n")
        big = recipes.directory / "big"
        big.write_bytes(b"x" * 1_000_001)
        step = recipes.settle("web.setup").operations[0].steps[-1]
        assert (step.kind, getattr(step, "path", None), getattr(step, "content", 1)) == ("upload", str(big), None)


class TestPositions:
    def test_a_fact_that_is_read_after_a_command(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    server.user(user='app', home='/srv/app', ensure_home=True)\n")
        kinds = [step.kind for step in recipes.settle("web.setup").operations[0].steps]
        first_command = kinds.index("command")
        assert "fact" in kinds[:first_command]
        assert "fact" in kinds[first_command:]

    def test_what_happened_inside_an_operation_is_replayed(self, recipes: Recipes) -> None:
        recipes.write(
            "web.py",
            """
            from pyinfra.api import operation
            from pyinfra.facts.server import Hostname

            @operation()
            def two():
                yield "first"
                yield f"second {host.get_fact(Hostname)}"

            def setup(node):
                two()
                server.shell(commands="after")
            """,
        )
        plan = recipes.settle("web.setup", answer=lambda key: "assumed\n")
        assert [steps[-1] for steps in scripts(plan)] == ["second assumed", "after"]
        began = happened(plan.operations[0], CommandAnswer(success=True), FactAnswer(exit_code=0, stdout="real\n"))
        again = after(recipes, plan, "web.setup", began, done=0)
        assert scripts(again) == [["second real"], ["after"]]


class TestResults:
    RELOAD = """
        def setup(node):
            config = server.shell(name="Config", commands="write"{more})
            server.shell(name="Reload", commands="reload", _if={condition})
    """

    def recipe(self, recipes: Recipes, condition: str, more: str = "") -> None:
        recipes.write("web.py", self.RELOAD.format(condition=condition, more=more))

    @pytest.mark.parametrize(
        ("condition", "runs"),
        [
            ("config.did_change", True),
            ("lambda: not config.did_change()", False),
            ("config.did_succeed", True),
            ("config.did_error", False),
            ("[config.did_change, config.did_succeed]", True),
            ("[config.did_change, config.did_error]", False),
        ],
    )
    def test_a_condition_on_what_is_planned(self, recipes: Recipes, condition: str, *, runs: bool) -> None:
        self.recipe(recipes, condition)
        plan = recipes.settle("web.setup")
        assert scripts(plan) == [["write"], ["reload"] if runs else []]
        assert plan.operations[1].conditional

    def test_a_condition_on_what_is_not_known_yet(self, recipes: Recipes) -> None:
        recipes.write(
            "web.py",
            """
            def setup(node):
                d = files.directory(path="/srv/x")
                server.shell(commands="reload", _if=d.did_change)
            """,
        )
        assert states(recipes.plan("web.setup")) == ["missing", "planned"]

    def test_a_failed_operation_that_is_ignored(self, recipes: Recipes) -> None:
        self.recipe(recipes, "config.did_error", more=", _ignore_errors=True")
        plan = recipes.settle("web.setup")
        assert plan.operations[0].ignore_errors
        began = happened(plan.operations[0], CommandAnswer(success=False, stderr="no"))
        assert scripts(after(recipes, plan, "web.setup", began, done=1)) == [[], ["reload"]]

    @pytest.mark.parametrize("stream", ["stdout", "stderr"])
    def test_reading_output_waits_for_real_results(self, recipes: Recipes, stream: str) -> None:
        self.recipe(recipes, f"lambda: 'yes' in config.{stream}")
        plan = recipes.settle("web.setup")
        assert states(plan) == ["planned", "barrier"]
        for text, runs in (("yes sir\n", True), ("no\n", False)):
            began = happened(plan.operations[0], CommandAnswer(success=True, **{stream: text}))
            assert scripts(after(recipes, plan, "web.setup", began, done=1))[1] == (["reload"] if runs else [])

    def test_reading_results_in_the_body_is_refused_as_in_pyinfra(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    op = server.shell(commands='a')\n    op.stdout\n")
        failure = recipes.plan("web.setup").failure
        assert failure is not None
        assert "before execution" in failure.message
        assert failure.line == 5


class TestAttempts:
    FLAKY = """
        def wanted(output):
            assert output["commands"] == ["say"] and output["executed_commands"] == 1, output
            assert (output["host"], output["operation"]) == ("web1", "Flaky"), output
            return "not yet" in output["stdout_lines"]

        def setup(node):
            op = server.shell(name="Flaky", commands={commands}{more})
            server.shell(commands="after", _if=lambda: op.retry_attempts == {wanted})
        """

    def flaky(self, recipes: Recipes, more: str, wanted: int = 0, commands: str = '"say"') -> HostPlan:
        recipes.write("web.py", self.FLAKY.format(commands=commands, more=more, wanted=wanted))
        return recipes.settle("web.setup")

    def next(self, recipes: Recipes, plan: HostPlan, *answers: CommandAnswer, done: int = 0) -> HostPlan:
        step = plan.operations[0].steps[0].identity
        trace = [Outcome(step=step, command=answer) for answer in answers]
        return after(recipes, plan, "web.setup", trace, done=done)

    def test_none_without_being_asked_for(self, recipes: Recipes) -> None:
        first = self.flaky(recipes, "").operations[0]
        assert (first.attempt, first.retries, first.open, first.continues) == (0, 0, False, False)

    def test_a_failed_attempt_is_followed_by_another_one(self, recipes: Recipes) -> None:
        plan = self.flaky(recipes, ", _retries=2, _retry_delay=3", wanted=1)
        first = plan.operations[0]
        assert (first.attempt, first.retries, first.retry_delay, first.open) == (0, 2, 3.0, False)
        again = self.next(recipes, plan, CommandAnswer(success=False))
        assert again.operations[0].attempt == 1
        assert scripts(again) == [["say"], ["after"]]
        good = self.next(recipes, plan, CommandAnswer(success=False), CommandAnswer(success=True), done=1)
        assert scripts(good) == [[], ["after"]]

    def test_the_last_one_is_the_end(self, recipes: Recipes) -> None:
        plan = self.flaky(recipes, ", _retries=1, _ignore_errors=True", wanted=1)
        bad = CommandAnswer(success=False)
        ended = self.next(recipes, plan, bad, bad).operations[0]
        assert (ended.attempt, ended.steps, ended.failed) == (1, (), True)
        assert scripts(self.next(recipes, plan, bad, bad, done=1)) == [[], ["after"]]

    def test_a_condition_sees_real_results(self, recipes: Recipes) -> None:
        plan = self.flaky(recipes, ", _retries=3, _retry_until=wanted", wanted=1)
        assert plan.operations[0].open
        not_yet, good = CommandAnswer(success=True, stdout="not yet\n"), CommandAnswer(success=True, stdout="good\n")
        again = self.next(recipes, plan, not_yet)
        assert (again.operations[0].attempt, again.operations[0].open) == (1, True)
        settled = self.next(recipes, plan, not_yet, good)
        assert (settled.operations[0].attempt, settled.operations[0].open) == (1, False)
        assert scripts(settled) == [[], ["after"]]

    def test_a_condition_that_is_broken_asks_for_nothing(self, recipes: Recipes) -> None:
        plan = self.flaky(recipes, ", _retries=3, _retry_until=lambda output: 1 / 0")
        settled = self.next(recipes, plan, CommandAnswer(success=True))
        assert scripts(settled) == [[], ["after"]]
        assert "_retry_until failed: ZeroDivisionError" in settled.output

    def test_going_on_after_an_error(self, recipes: Recipes) -> None:
        plan = self.flaky(recipes, ", _continue_on_error=True", commands='["one", "two", "three"]')
        first = plan.operations[0]
        assert first.continues
        happened = [
            Outcome(step=step.identity, command=CommandAnswer(success=good))
            for step, good in zip(first.steps, (True, False, True), strict=True)
        ]
        left = after(recipes, plan, "web.setup", happened[:2], done=0).operations[0]
        assert ([step.identity for step in left.steps], left.failed) == ([first.steps[2].identity], True)
        ended = after(recipes, plan, "web.setup", happened, done=0).operations[0]
        assert (ended.steps, ended.failed, ended.open) == ((), True, False)


class TestPasswords:
    RECIPE = """
        from pyinfra.facts.server import Hostname

        def setup(node):
            server.shell(commands="a", _sudo=True, _sudo_password="first-word")
            files.file(path="/x", _su_user="app", _su_password="second-word")
            server.shell(commands="b", _sudo=True, _sudo_password="first-word", _if=lambda: False)
    """

    def test_no_step_and_no_fact_contains_one(self, recipes: Recipes) -> None:
        recipes.write("web.py", self.RECIPE)
        plan = recipes.settle("web.setup")
        assert plan.passwords == {"_P0": "first-word", "_P1": "second-word"}
        text = plan.model_copy(update={"passwords": {}}).model_dump_json()
        assert "_P0" in text
        assert "_P1" in text
        assert "-word" not in text
        assert not plan.lasting

    def test_their_names_do_not_depend_on_what_is_known(self, recipes: Recipes) -> None:
        recipes.write("web.py", self.RECIPE)
        assert recipes.plan("web.setup").passwords == recipes.settle("web.setup").passwords


class TestStandardInput:
    @pytest.mark.parametrize(
        ("stdin", "first", "second"),
        [
            ("'one'", "'one\n'", "'one\n'"),
            ("['one', 'two\\n']", "'one\ntwo\n'", "'one\ntwo\n'"),
            ("StringIO('one\\ntwo')", "'one\ntwo\n'", ""),
        ],
    )
    def test_as_pyinfra_gives_it(self, recipes: Recipes, stdin: str, first: str, second: str) -> None:
        """A stream has been read by the first command, and is empty for the second one."""
        text = f"from io import StringIO\ndef setup(node):\n    server.shell(commands=['a', 'b'], _stdin={stdin})\n"
        recipes.write("web.py", text)
        plan = recipes.settle("web.setup")
        wanted = [f"printf %s {text} 2>/dev/null | {{\n{name}\n}}" if text else name for name, text in
                  (("a", first), ("b", second))]  # fmt: skip
        assert scripts(plan) == [wanted]
        began = happened(plan.operations[0], CommandAnswer(success=True))
        assert scripts(after(recipes, plan, "web.setup", began, done=0)) == [wanted[1:]]

    def test_anything_else_is_an_error(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    server.shell(commands='a', _stdin=[1])\n")
        plan = recipes.settle("web.setup")
        told = plan.failure.message if plan.failure else plan.operations[0].error
        assert "_stdin" in told


class TestBarriers:
    CALL = """
        from pathlib import Path
        from pyinfra.operations import python

        def setup(node):
            op = server.shell(name="First", commands="first")
            seen = []
            def look(more):
                Path({log!r}).open("a").write(op.stdout + more)
                {body}
                seen.append(op.stdout)
            python.call(name="Look", function=look, more="!")
            server.shell(name="After", commands="after", _if=lambda: seen == ["out"])
    """

    def recipe(self, recipes: Recipes, body: str = "pass") -> Path:
        log = recipes.directory / "log"
        recipes.write("web.py", self.CALL.format(log=str(log), body=body))
        return log

    def front(self, recipes: Recipes, **more: object) -> HostPlan:
        """The plan when the first operation has run."""
        first = recipes.settle("web.setup").operations[0]
        trace = (happened(first, CommandAnswer(success=True, stdout="out\n")),)
        values = {"trace": trace, "began": (first.identity,), "done": 1, "prepared": {}}
        return recipes.plan("web.setup", **(values | more))

    def test_a_function_waits_for_what_is_before_it(self, recipes: Recipes) -> None:
        log = self.recipe(recipes)
        assert states(recipes.settle("web.setup")) == ["planned", "barrier", "barrier"]
        assert states(recipes.settle("web.setup", call=1)) == ["planned", "barrier", "barrier"]
        look = self.front(recipes).operations[1]
        assert look.barrier is not None
        assert (look.open, look.steps, look.barrier.what, look.barrier.answer) == (True, (), "call", None)
        assert look.barrier.display == "call setup.look"
        assert not log.exists()

    def test_it_runs_once_and_what_it_changed_is_kept(self, recipes: Recipes) -> None:
        log = self.recipe(recipes)
        plan = self.front(recipes, call=1)
        barrier = plan.operations[1].barrier
        assert barrier is not None
        assert barrier.answer == CommandAnswer(success=True)
        assert not plan.lasting
        outcome = Outcome(step=barrier.display, command=barrier.answer, changes=barrier.changes)
        trace = (self.trace(recipes), (outcome,))
        began = tuple(operation.identity for operation in plan.operations[:2])
        for done in (1, 2):
            later = recipes.plan("web.setup", trace=trace, began=began, done=done, prepared={})
            assert scripts(later)[2] == ["after"]
        assert log.read_text() == "out!"

    def trace(self, recipes: Recipes) -> tuple[Outcome, ...]:
        return happened(recipes.settle("web.setup").operations[0], CommandAnswer(success=True, stdout="out\n"))

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ("1 / 0", "ZeroDivisionError: division by zero (at "),
            ("seen.append({1})", "the function keeps in 'seen' what later operations would not find there"),
        ],
    )
    def test_a_function_that_fails(self, recipes: Recipes, body: str, text: str) -> None:
        self.recipe(recipes, body)
        barrier = self.front(recipes, call=1).operations[1].barrier
        assert barrier is not None
        assert barrier.answer is not None
        assert not barrier.answer.success
        assert text in barrier.answer.stderr
        if "1 / 0" in body:
            assert "web.py:12: 1 / 0)" in barrier.answer.stderr

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ("server.shell(commands='id')", "an operation inside a function"),
            ("host.run_shell_command('id')", "a function cannot read facts or run commands"),
        ],
    )
    def test_what_a_function_cannot_do(self, recipes: Recipes, body: str, text: str) -> None:
        self.recipe(recipes, body)
        look = self.front(recipes, call=1).operations[1]
        assert look.state is OperationState.FAILED
        assert text in look.error

    def test_a_function_that_takes_too_long(self, recipes: Recipes) -> None:
        recipes.write(
            "web.py",
            """
            import time
            from pyinfra.operations import python
            def setup(node):
                python.call(function=lambda: time.sleep(30), _timeout=1)
            """,
        )
        barrier = recipes.plan("web.setup", call=0).operations[0].barrier
        assert barrier is not None
        assert barrier.answer is not None
        assert barrier.answer.stderr.startswith("TimeoutError: it took more than 1 s")

    def test_raising_an_exception(self, recipes: Recipes) -> None:
        text = "from pyinfra.operations import python\ndef setup(node):\n"
        recipes.write("web.py", f"{text}    python.raise_exception(ValueError, 'not today')\n")
        barrier = recipes.plan("web.setup", call=0).operations[0].barrier
        assert barrier is not None
        assert barrier.answer == CommandAnswer(success=False, stderr="ValueError: not today\n")

    def test_a_reboot(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    server.reboot(delay=2, interval=3, reboot_timeout=60)\n")
        good = CommandAnswer(success=True)
        outcomes: list[Outcome] = []
        met = []
        for _ in range(4):
            operation = recipes.plan("web.setup", trace=(tuple(outcomes),), prepared={}).operations[0]
            if operation.barrier is not None:
                met.append((operation.barrier.what, operation.barrier.delay, operation.barrier.timeout))
                outcomes.append(Outcome(step=operation.barrier.display, command=good))
            for step in operation.steps:
                met.append(("command", 0.0, None))
                outcomes.append(Outcome(step=step.identity, command=good))
        assert met == [("boot", 0.0, None), ("command", 0.0, None), ("reconnect", 2.0, 60.0)]
        assert not operation.open

    def test_a_download_stays_what_it_was(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    files.get(src='/etc/x', dest='got')\n")
        plan = recipes.settle("web.setup")
        first = plan.operations[0]
        assert first.open
        read = happened(first, *[FactAnswer(exit_code=0, stdout="") for _ in first.steps])
        barrier = recipes.plan("web.setup", trace=(read,), prepared={}).operations[0].barrier
        assert barrier is not None
        assert barrier.dest == str(recipes.directory / "got")
        (recipes.directory / "got").write_text("it is here now")
        trace = ((*read, Outcome(step=barrier.display, command=CommandAnswer(success=True))),)
        for done in (0, 1):
            later = recipes.plan("web.setup", trace=trace, began=(first.identity,), done=done, prepared={})
            assert (later.failure, states(later), later.operations[0].open) == (None, ["planned"], False)


class TestRefused:
    @pytest.mark.parametrize(
        ("argument", "text"),
        [
            ("_sudo=True, _sudo_password='hunter2\\n'", "_sudo_password has a line break in it"),
            ("_sudo=True, _sudo_user='a', _su_user='b', _su_password='hunter2'", "_su_password together with _sudo"),
            ("_get_pty=True", "_get_pty"),
            ("_run_once=True", "_run_once"),
            ("_serial=True", "opsflow run --serial"),
            ("_parallel=3", "_parallel"),
        ],
    )
    def test_arguments_by_name(self, recipes: Recipes, argument: str, text: str) -> None:
        recipes.write("web.py", f"def setup(node):\n    server.shell(commands='a', {argument})\n")
        failure = recipes.plan("web.setup", prepare_only=True).failure
        assert failure is not None
        assert text in failure.message
        assert "hunter2" not in failure.message
        assert failure.line == 4

    @pytest.mark.parametrize(
        "call",
        [
            "files.rsync(src='.', dest='/b')",
        ],
    )
    def test_operations_by_name(self, recipes: Recipes, call: str) -> None:
        recipes.write("web.py", f"from pyinfra.operations import python\ndef setup(node):\n    {call}\n")
        failure = recipes.plan("web.setup", prepare_only=True).failure
        assert failure is not None
        assert f"{call.partition('(')[0]} is not supported" in failure.message
        assert failure.line == 5

    def test_an_argument_that_no_one_knows(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    server.shell(commands='a', _sudoo=True)\n")
        failure = recipes.plan("web.setup").failure
        assert failure is not None
        assert "_sudoo" in failure.message

    def test_a_recipe_cannot_swallow_it(self, recipes: Recipes) -> None:
        body = "def setup(node):\n    try:\n        files.rsync(src='.', dest='/b')\n    except Exception: ...\n"
        recipes.write("web.py", body)
        assert recipes.plan("web.setup").failure is not None


class TestFactsInTheBody:
    RECIPE = """
        from pyinfra.facts.server import Hostname, Kernel

        def setup(node):
            if host.get_fact(Hostname) == "web1":
                server.shell(commands="echo " + host.get_fact(Kernel))
    """

    def test_are_asked_one_after_another_and_pinned(self, recipes: Recipes) -> None:
        recipes.write("web.py", self.RECIPE)
        asked: list[str] = []

        def answer(key: str) -> str:
            asked.append(key)
            return "web1\n" if "name -n" in key or "hostname" in key.lower() else "Linux\n"

        plan = recipes.settle("web.setup", answer=answer)
        assert scripts(plan) == [["echo Linux"]]
        assert list(plan.prepared) == asked

    def test_a_fact_that_fails_is_told(self, recipes: Recipes) -> None:
        recipes.write(
            "web.py",
            """
            from pyinfra.facts.files import FileContents
            def setup(node):
                print(host.get_fact(FileContents, path="/x"))
            """,
        )
        plan = recipes.settle("web.setup", answer=lambda key: FactAnswer(exit_code=1, stdout="", stderr="cat: no\n"))
        assert plan.failure is not None or plan.output == "None\n"


class TestSteady:
    CHANCE = """
        import datetime, random, secrets, time, uuid
        from datetime import datetime as moment

        NAME = secrets.token_hex(4)

        def setup(node):
            at = f"{datetime.datetime.now():%H%M%S%f} {moment.utcnow()} {datetime.date.today()}"
            server.shell(commands=f"{NAME} {random.random()} {uuid.uuid4()} {at} {random.sample(range(99), 5)}")
            server.shell(commands=f"{time.strftime('%X')} {time.time()}")
            server.shell(commands=" ".join({"a", "b", "c", "d", node.name}))
    """

    def test_chance_and_clock_are_the_same_in_every_plan_of_a_run(self, recipes: Recipes) -> None:
        recipes.write("web.py", self.CHANCE)
        texts = [scripts(recipes.settle("web.setup")) for _ in range(3)]
        assert texts[0] == texts[1] == texts[2]

    def test_and_differ_between_runs(self, recipes: Recipes) -> None:
        recipes.write("web.py", self.CHANCE)
        assert scripts(recipes.settle("web.setup"))[0] != scripts(recipes.settle("web.setup", seed="6" * 64))[0]

    def test_the_clock_is_the_runs(self, recipes: Recipes) -> None:
        recipes.write(
            "web.py",
            """
            from datetime import UTC, datetime
            def setup(node):
                print(datetime.now(UTC), isinstance(datetime.now(), datetime))
            """,
        )
        assert recipes.settle("web.setup").output == "2026-01-02 03:04:05+00:00 True\n"

    TWO = """
        def setup(node):
            server.shell(name="{}", commands="{}")
            server.shell(name="Two", commands="b")
    """

    def test_other_operations_than_before_are_an_error(self, recipes: Recipes) -> None:
        recipes.write(
            "web.py",
            self.TWO.format("One", "a"),
        )
        plan = recipes.settle("web.setup")
        began = happened(plan.operations[0], CommandAnswer(success=True))
        recipes.write(
            "web.py",
            self.TWO.format("New", "x"),
        )
        failure = after(recipes, plan, "web.setup", began, done=1).failure
        assert failure is not None
        assert "operation 'New' is another operation than before" in failure.message

    def test_other_commands_inside_an_operation_are_an_error(self, recipes: Recipes) -> None:
        text = "def setup(node):\n    server.shell(name='One', commands=['{}', 'b'])\n"
        recipes.write("web.py", text.format("a"))
        plan = recipes.settle("web.setup")
        began = happened(plan.operations[0], CommandAnswer(success=True))
        recipes.write("web.py", text.format("other"))
        failure = after(recipes, plan, "web.setup", began, done=0).failure
        assert failure is not None
        assert "gave other commands for the same facts" in failure.message

    def test_a_backup_is_named_after_the_run(self, recipes: Recipes) -> None:
        recipes.write("web.py", "def setup(node):\n    files.line(path='/etc/x', line='a', backup=True)\n")
        texts = [str(scripts(recipes.settle("web.setup"))) for _ in range(2)]
        assert texts[0] == texts[1]


def test_facts_by_name(recipes: Recipes) -> None:
    plan = recipes.settle(facts=("server.Hostname", "server.Kernel"), answer=lambda key: "x\n")
    assert plan.facts == {"server.Hostname": "x", "server.Kernel": "x"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("server.Hostnam", "did you mean server.Hostname"),
        ("servr.Hostname", "did you mean server?"),
        ("nonsense", "write MODULE.Fact"),
        ("files.File", "needs arguments (path)"),
        ("server.shlex", "there is no fact"),
    ],
)
def test_facts_that_do_not_exist(recipes: Recipes, name: str, text: str) -> None:
    failure = recipes.plan(facts=(name,)).failure
    assert failure is not None
    assert text in f"{failure.message} {failure.hint}"


def test_a_fact_step_knows_its_mask(recipes: Recipes) -> None:
    recipes.write("web.py", "def setup(node):\n    files.file(path='/etc/x')\n")
    steps = [fact for fact in recipes.plan("web.setup").missing if isinstance(fact, FactStep)]
    assert [step.mask for step in steps if "stat" in step.key] == ["times"]
