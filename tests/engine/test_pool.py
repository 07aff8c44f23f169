"""Whatever a recipe does to its process, only its own plan fails, with a message that helps."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_doubles import Recipes, alive, snapshot, until

from opsflow.engine.messages import PlanFailure
from opsflow.engine.pool import PlannerPool


@pytest.fixture
def broken(recipes: Recipes) -> Iterator[Recipes]:
    """Recipes after which the next plan must work."""
    yield recipes
    recipes.write("fine.py", "def setup(node):\n    server.shell(commands='true')\n")
    plan = recipes.settle("fine.setup")
    assert plan.failure is None
    assert len(plan.operations) == 1


def failure(recipes: Recipes, text: str, name: str = "bad") -> PlanFailure:
    recipes.write(f"{name}.py", text)
    plan = recipes.plan(f"{name}.setup")
    assert plan.failure is not None
    return plan.failure


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os; os._exit(3)", "ended their planner process (with exit code 3)"),
        ("import ctypes; ctypes.string_at(0)", "by signal SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "by signal SIGKILL"),
        ("import os; os.abort()", "by signal SIGABRT"),
        ("import sys; sys.exit('bye')", "called sys.exit('bye'); raise an exception or return instead"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise BaseException('x')", "BaseException: x"),
        ("x = bytearray(8 << 30)", "MemoryError"),
        ("raise ValueError('no\\nway')", "ValueError: no\nway"),
        ("{}['name']", "KeyError: name"),
        ("def f(): f()\n    f()", "RecursionError"),
        ("open('/tmp/x', 'w').truncate(1 << 40)", "OSError"),
        ("import sys; sys.stdout.close(); sys.stderr = None; raise ValueError('quiet')", "ValueError: quiet"),
    ],
)
def test_how_recipes_end(broken: Recipes, body: str, message: str) -> None:
    told = failure(broken, f"def setup(node):\n    {body}\n")
    assert message in told.message


def test_the_line_of_the_recipe(recipes: Recipes) -> None:
    told = failure(recipes, "def helper():\n    return 1 / 0  # here\n\ndef setup(node):\n    helper()\n")
    assert (told.file, told.line, told.snippet, told.recipe) == (
        str(recipes.directory / "bad.py"), 4, "return 1 / 0  # here", "bad.setup"
    )  # fmt: skip


@pytest.mark.parametrize(
    "method",
    [
        "raise RuntimeError",
        "import sys; sys.exit(1)",
        "return 'x' * 10_000_000",
        "return None",
        "import os; raise OSError",
    ],
)
def test_exceptions_with_an_odd_text(broken: Recipes, method: str) -> None:
    text = f"class Odd(Exception):\n    def __str__(self):\n        {method}\ndef setup(node):\n    raise Odd\n"
    told = failure(broken, text)
    assert told.message.startswith("Odd")
    assert len(told.message) < 3000


def test_an_endless_loop(tmp_path: Path) -> None:
    pool = PlannerPool(timeout=1)
    recipes = Recipes(tmp_path / "r", pool)
    try:
        recipes.write("fine.py", "def setup(node): ...\n")
        until(lambda: recipes.plan("fine.setup").failure is None)
        told = failure(
            recipes, "import os\ndef setup(node):\n    open('pid', 'w').write(str(os.getpid()))\n    while 1: ...\n"
        )
        assert told.message == "the recipes took more than 1 s to plan and were ended"
        assert "endless loop" in told.hint
        pid = int((recipes.directory / "pid").read_text())
        until(lambda: not alive(pid))
        assert recipes.plan("fine.setup").failure is None
    finally:
        pool.close()


def test_closing_ends_what_hangs(recipes: Recipes) -> None:
    pool = PlannerPool()
    recipes.write("hang.py", "import time\ndef setup(node):\n    open('hangs', 'w')\n    time.sleep(60)\n")
    told: list[PlanFailure | None] = []
    thread = threading.Thread(target=lambda: told.append(pool.plan(recipes.request("hang.setup")).failure))
    thread.start()
    until((recipes.directory / "hangs").exists)
    pool.close()
    thread.join(10)
    assert told
    assert told[0] is not None
    closed = pool.plan(recipes.request("hang.setup")).failure
    assert closed is not None
    assert closed.message == "the engine was closed"


def test_many_processes_are_ended(broken: Recipes) -> None:
    body = """
        import os, time
        def setup(node):
            for _ in range(150):
                if os.fork() == 0:
                    time.sleep(60)
            time.sleep(60)
    """
    told = failure(broken, body)
    assert "by signal SIGKILL" in told.message
    assert "many processes" in told.hint


def test_a_fork_bomb_ends(broken: Recipes, tmp_path: Path) -> None:
    body = """
        import os, time
        def setup(node):
            for _ in range(9):      # 512 processes
                try:
                    os.fork()
                except OSError:
                    pass
            time.sleep(60)
    """
    told = failure(broken, body)
    assert "SIGKILL" in told.message


def test_processes_that_a_recipe_leaves_behind_are_ended(recipes: Recipes) -> None:
    recipes.write(
        "left.py",
        "import subprocess\ndef setup(node):\n"
        "    print(subprocess.Popen(['sleep', '300'], stdout=subprocess.DEVNULL).pid)\n",
    )
    plan = recipes.plan("left.setup")
    pid = int(plan.output)
    until(lambda: not alive(pid))


def test_what_recipes_print_is_kept_and_bounded(recipes: Recipes) -> None:
    recipes.write(
        "p.py",
        "import os\ndef setup(node):\n    print('hello')\n    os.write(2, b'\\xff\\n')\n    print('x' * 10**7)\n",
    )
    plan = recipes.plan("p.setup")
    assert plan.output.startswith("hello\n\\xff\nxxx")
    assert len(plan.output) == 65536 + 3


def test_no_secrets_of_the_process_reach_recipes(recipes: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    pool = PlannerPool()
    try:
        recipes.write(
            "env.py", "import os\ndef setup(node):\n    print(sorted(os.environ), os.listdir('/proc/self/fd'))\n"
        )
        output = pool.plan(recipes.request("env.setup")).output
        assert "AWS" not in output
        assert "PATH" in output
    finally:
        pool.close()


class TestModules:
    def test_a_syntax_error(self, broken: Recipes) -> None:
        told = failure(broken, "def setup(node)\n    pass\n")
        assert told.message == "is not valid Python: expected ':'"
        assert (told.file, told.line, told.snippet) == (str(broken.directory / "bad.py"), 3, "def setup(node)")

    def test_an_error_while_importing(self, broken: Recipes) -> None:
        told = failure(broken, "x = nothing\ndef setup(node): ...\n")
        assert (told.message, told.line) == ("NameError: name 'nothing' is not defined", 3)

    def test_exit_while_importing(self, broken: Recipes) -> None:
        assert "sys.exit(1)" in failure(broken, "import sys; sys.exit(1)\n").message

    def test_a_missing_module(self, broken: Recipes) -> None:
        told = broken.plan("nosuch.setup").failure
        assert told is not None
        assert told.message.startswith("there is no recipe module 'nosuch' under ")

    def test_a_missing_dependency_of_a_recipe(self, broken: Recipes) -> None:
        told = failure(broken, "import nosuchlibrary\ndef setup(node): ...\n")
        assert "nosuchlibrary" in told.message
        assert told.line == 3

    def test_a_missing_function(self, broken: Recipes) -> None:
        told = failure(broken, "def configure(node): ...\n")
        assert told.message == "there is no function 'setup' in recipe module 'bad'"
        assert told.hint == "it has configure"

    def test_a_name_that_is_no_function(self, broken: Recipes) -> None:
        assert "no function" in failure(broken, "setup = 3\n").message

    @pytest.mark.parametrize("name", ["json", "yaml", "sys", "pyinfra", "opsflow"])
    def test_a_module_that_something_installed_hides(self, broken: Recipes, name: str) -> None:
        told = failure(broken, "def setup(node): ...\n", name=name)
        assert "an installed Python module of that name comes first" in told.message

    def test_a_module_name_that_is_free_in_the_planner(self, broken: Recipes) -> None:
        """A recipe may be called like a module of the standard library that nothing has imported."""
        broken.write("chess.py", "def setup(node): ...\n")
        assert broken.plan("chess.setup").failure is None

    def test_a_recipe_that_takes_no_node(self, broken: Recipes) -> None:
        told = failure(broken, "def setup(): ...\n")
        assert "takes 0 positional arguments but 1 was given" in told.message
        assert (Path(told.file).name, told.line, told.snippet) == ("bad.py", 3, "def setup(): ...")


def test_recipes_of_one_plan_do_not_see_another(recipes: Recipes) -> None:
    recipes.write(
        "state.py", "import os\nseen = []\ndef setup(node):\n    seen.append(1)\n    print(len(seen), os.getcwd())\n"
    )
    outputs = {recipes.plan("state.setup").output for _ in range(3)}
    assert outputs == {f"1 {recipes.directory}\n"}


def test_a_planner_that_dies_is_replaced(recipes: Recipes) -> None:
    recipes.write("kill.py", "import os\ndef setup(node):\n    os.kill(os.getppid(), 9)\n    os._exit(1)\n")
    recipes.write("fine.py", "def setup(node): ...\n")
    for _ in range(2):
        assert recipes.plan("kill.setup").failure is not None
        assert recipes.plan("fine.setup").failure is None


def test_many_plans_at_once(recipes: Recipes) -> None:
    recipes.write("many.py", "def setup(node):\n    print(node.name)\n")
    outputs: dict[str, str] = {}

    def plan(name: str) -> None:
        outputs[name] = recipes.plan("many.setup", node=snapshot(name)).output

    threads = [threading.Thread(target=plan, args=(f"web{number}",)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {f"web{number}": f"web{number}\n" for number in range(30)}


def test_nothing_is_left_open(recipes: Recipes) -> None:
    recipes.write("fine.py", "def setup(node): ...\n")
    recipes.plan("fine.setup")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        recipes.plan("fine.setup")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 8 << 20


def test_processes_wait_for_many_states_of_the_recipes(recipes: Recipes) -> None:
    """One that is in use when others come to wait is no reason to stumble."""
    recipes.write("fine.py", "def setup(node):\n    server.shell(commands='true')\n")
    pool = PlannerPool(size=1, timeout=20)
    try:
        request = recipes.request("fine.setup")
        for loaded in ("a", "a", "b", "c", "a", "a", "c"):
            assert pool.plan(request, loaded).failure is None
        taken = pool._take("c")
        assert taken is not None
        taken.socket.close()
        for loaded in ("d", "e"):
            assert pool.plan(request, loaded).failure is None
    finally:
        pool.close()
