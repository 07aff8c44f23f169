"""What opsflow relies on inside pyinfra 3.10. When an upgrade turns this red, the adapter has to follow."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pyinfra
import pyinfra.api.host
import pyinfra.operations.util.files
import pytest
from pyinfra.api import FunctionCommand
from pyinfra.api.arguments import (
    CONNECTOR_ARGUMENT_KEYS,
    EXECUTION_KWARG_KEYS,
    all_global_arguments,
    pop_global_arguments,
)
from pyinfra.api.command import (
    FileDownloadCommand,
    FileUploadCommand,
    PyinfraCommand,
    QuoteString,
    RsyncCommand,
    StringCommand,
)
from pyinfra.api.config import Config
from pyinfra.api.facts import FactBase, ShortFactBase, get_fact
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import OperationMeta
from pyinfra.api.state import State, StateOperationHostData, StateOperationMeta, StateStage
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state
from pyinfra.operations import files, server

from opsflow.engine import adapter, render
from opsflow.engine.messages import FactAnswer


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def make_state() -> adapter.PlanState:
    state = adapter.make_state("web1", ("web",), {"port": 80}, (f"{Path(__file__).parent}/",))
    host = next(iter(state.inventory))
    host.connector = adapter.PlanConnector(state, host, lambda key: FactAnswer(exit_code=0, stdout=""))
    host.connected = True
    adapter.enter(state)
    state.set_stage(StateStage.Prepare)
    return state


def test_the_version() -> None:
    assert version("pyinfra").startswith("3.10.")
    assert pyinfra.is_cli is False


class TestArguments:
    def test_what_shapes_a_shell_command(self) -> None:
        assert set(CONNECTOR_ARGUMENT_KEYS) == {
            "_chdir", "_doas", "_doas_user", "_dzdo", "_dzdo_user", "_env", "_get_pty", "_preserve_su_env",
            "_preserve_sudo_env", "_retries", "_retry_delay", "_retry_until", "_shell_executable", "_stdin",
            "_su_password", "_su_shell", "_su_user", "_success_exit_codes", "_sudo", "_sudo_password", "_sudo_user",
            "_temp_dir", "_timeout", "_use_su_login", "_use_sudo_login",
        }  # fmt: skip

    def test_every_global_argument_is_known_here(self) -> None:
        """A new one must be supported or refused by name."""
        known = {name for name, _ in all_global_arguments()}
        supported = {
            "_chdir", "_doas", "_doas_user", "_dzdo", "_dzdo_user", "_env", "_if", "_ignore_errors",
            "_preserve_su_env", "_preserve_sudo_env", "_shell_executable", "_su_shell", "_su_user",
            "_success_exit_codes", "_sudo", "_sudo_user", "_timeout", "_use_su_login", "_use_sudo_login", "name",
            "_stdin", "_sudo_password", "_su_password",
            "_temp_dir", "_retries", "_retry_delay", "_retry_until", "_continue_on_error",
        }  # fmt: skip
        assert known - supported == set(adapter.REFUSED_ARGUMENTS)
        assert set(EXECUTION_KWARG_KEYS) == {"_parallel", "_run_once", "_serial"}

    def test_everything_that_escalates_is_passed_on(self) -> None:
        known = parameters(make_unix_command)
        assert known[0] == "command"
        assert set(render.ESCALATION) <= set(known)
        rest = set(known) - set(render.ESCALATION) - {"command", "_env", "_chdir", "_shell_executable"}
        assert rest == {
            "_su_password", "_su_askpass_path", "_sudo_password", "_sudo_askpass_path",
            "_retries", "_retry_delay", "_retry_until", "_temp_dir",
        }  # fmt: skip

    def test_how_they_are_taken_from_a_call(self) -> None:
        assert parameters(pop_global_arguments)[:3] == ["state", "host", "kwargs"]

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({}, "sh -c 'a b'"),
            ({"_sudo": True}, "sudo -H -n sh -c 'a b'"),
            ({"_sudo": True, "_sudo_user": "x"}, "sudo -H -n -u x sh -c 'a b'"),
            ({"_su_user": "x"}, "su x -c 'sh -c '\"'\"'a b'\"'\"''"),
            ({"_doas": True, "_doas_user": "x"}, "doas -n -u x sh -c 'a b'"),
            ({"_env": {"A": "1 2"}}, "sh -c 'export '\"'\"'A=1 2'\"'\"' && a b'"),
            ({"_chdir": "/x y", "_shell_executable": "bash"}, "bash -c 'cd '\"'\"'/x y'\"'\"' && a b'"),
        ],
    )
    def test_how_a_command_is_wrapped(self, arguments: dict[str, Any], text: str) -> None:
        assert make_unix_command(StringCommand("a b"), **arguments).get_raw_value() == text


class TestOperations:
    def test_the_operation_is_found_by_its_wrapper(self) -> None:
        """`adapter._caller` looks for a frame of `decorated_func` with the operation in its `func`."""
        wrapper = inspect.unwrap(server.shell, stop=lambda function: function.__code__.co_name == "decorated_func")
        assert wrapper.__code__.co_name == "decorated_func"
        assert "func" in wrapper.__code__.co_freevars
        assert wrapper._inner is wrapper.__wrapped__

    def test_the_generator_evaluates_conditions_only_while_executing(self) -> None:
        state, asked = make_state(), list[bool]()
        host = next(iter(state.inventory))
        with ctx_host.use(host), ctx_config.use(state.config):
            server.shell(commands="a", _if=lambda: asked.append(True) or True)
            operation = state.registered[0]
            assert asked == []
            state.set_stage(StateStage.Execute)
            state.is_executing = True
            (command,) = operation.data.command_generator()
        assert asked == [True]
        assert isinstance(command, StringCommand)
        assert command.get_raw_value() == "a"
        assert (operation.operation, operation.file, operation.name) == (
            "server.shell", __file__, "server.shell (commands=a)"
        )  # fmt: skip

    def test_what_an_operation_was_called_with(self) -> None:
        """`adapter.sets_mode` looks at the variable `kwargs` of the generator."""
        state = make_state()
        with ctx_host.use(next(iter(state.inventory))), ctx_config.use(state.config):
            files.put(src=StringIO("a"), dest="/x", mode="600")
            files.put(src=StringIO("a"), dest="/y")
            server.shell(commands="a")
        assert [adapter.sets_mode(operation) for operation in state.registered] == [True, False, False]

    @pytest.mark.parametrize(
        ("mode", "whole"),
        [("600", True), (600, True), (" 0O640 ", True), ("u=rw,go=", True), ("=r", True), ("u=rw,g=r,o=", True)]
        + [(mode, False) for mode in (None, True, 0, "0", "000", "+x", "u+x,go=", "u=rw", "u=rw,g=u,o=", "a=rX", "")],
    )
    def test_a_mode_that_depends_on_the_one_before_is_not_whole(self, mode: object, whole: bool) -> None:
        """A new file that was its owner's alone first would get another mode from `+x` than with pyinfra."""
        state = make_state()
        with ctx_host.use(next(iter(state.inventory))), ctx_config.use(state.config):
            files.put(src=StringIO("a"), dest="/x", mode=mode)
        assert [adapter.sets_mode(operation) for operation in state.registered] == [whole]

    def test_their_data(self) -> None:
        assert parameters(State.set_op_data_for_host) == ["self", "host", "op_hash", "op_data"]
        assert parameters(StateOperationHostData)[:3] == ["command_generator", "global_arguments", "operation_meta"]
        assert {"names", "global_arguments"} <= set(parameters(StateOperationMeta)) | set(
            StateOperationMeta.__annotations__
        )
        assert parameters(OperationMeta.set_complete) == [
            "self", "success", "commands", "combined_output", "retry_attempts", "max_retries"
        ]  # fmt: skip

    def test_did_change_needs_commands_and_success(self) -> None:
        for success, commands, changed in ((True, ["x"], True), (True, [], False), (False, ["x"], False)):
            meta = OperationMeta("hash", None)
            with pytest.raises(RuntimeError, match="before execution"):
                meta.did_change()
            meta.set_complete(success, commands, CommandOutput([]))
            assert (meta.did_change(), meta.did_succeed(), meta.did_error()) == (changed, success, not success)
            with pytest.raises(RuntimeError, match="already complete"):
                meta.set_complete(success, commands, CommandOutput([]))

    def test_output_is_read_through_lines(self) -> None:
        meta = OperationMeta("hash", None)
        meta.set_complete(success=True, commands=["x"], combined_output=adapter.NotYet())
        for name in ("stdout", "stderr", "stdout_lines", "stderr_lines"):
            with pytest.raises(adapter.NeedsResults):
                getattr(meta, name)

    def test_stages(self) -> None:
        assert [stage.name for stage in StateStage] == ["Setup", "Connect", "Prepare", "Execute", "Disconnect"]
        assert hasattr(State, "set_stage")
        assert "check_for_changes" in parameters(State.__init__)
        assert "is_executing" in vars(State) or "is_executing" in inspect.getsource(State)


class TestCommands:
    def test_all_kinds(self) -> None:
        """A new kind of command is refused by its class name; these are known."""
        kinds = {kind.__name__ for kind in PyinfraCommand.__subclasses__()}
        assert {kind for kind in kinds if not kind.startswith("_")} == {
            StringCommand.__name__, FileUploadCommand.__name__, FileDownloadCommand.__name__,
            FunctionCommand.__name__, RsyncCommand.__name__,
        }  # fmt: skip

    def test_an_upload(self) -> None:
        command = FileUploadCommand("a", "b", remote_temp_filename="c", _sudo=True)
        assert (command.src, command.dest, command.connector_arguments) == ("a", "b", {"_sudo": True})

    def test_sources_of_uploads(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(b"of a file")
        for source, content in (
            (str(tmp_path / "f"), b"of a file"), (StringIO("text"), "text"), (BytesIO(b"bytes"), b"bytes"),
        ):  # fmt: skip
            for _ in range(2):
                with get_file_io(source) as stream:
                    data = stream.read()
                assert data in (content, str(content).encode())

    def test_masks(self) -> None:
        command = StringCommand("a", QuoteString(HiddenValue("secret value")))
        assert command.get_raw_value() == "a 'secret value'"
        assert "secret" not in command.get_masked_value()
        assert HiddenValue("x").unmask() == "x"


class TestFacts:
    def test_how_the_connector_is_asked(self) -> None:
        assert parameters(BaseConnector.run_shell_command)[:4] == ["self", "command", "print_output", "print_input"]
        seen: list[tuple[Any, dict[str, Any]]] = []

        class Spy(adapter.PlanConnector):
            def run_shell_command(self, command: Any, *args: Any, **kwargs: Any) -> Any:
                seen.append((command, kwargs))
                return super().run_shell_command(command, *args, **kwargs)

        state = make_state()
        host = next(iter(state.inventory))
        host.connector = Spy(state, host, lambda key: FactAnswer(exit_code=0, stdout="name\n"))
        from pyinfra.facts.server import Hostname

        with ctx_host.use(host), ctx_config.use(state.config):
            assert host.get_fact(Hostname) == "name"
        command, arguments = seen[0]
        assert command == "uname -n"
        assert {"_sudo", "_env", "_timeout"} <= set(arguments)

    def test_facts_of_an_operation_run_with_its_privileges(self) -> None:
        keys: list[str] = []
        state = make_state()
        host = next(iter(state.inventory))
        host.connector = adapter.PlanConnector(
            state, host, lambda key: keys.append(key) or FactAnswer(exit_code=0, stdout="")
        )
        with ctx_host.use(host), ctx_config.use(state.config):
            files.file(path="/x", _sudo=True, _sudo_user="app")
            state.set_stage(StateStage.Execute)
            state.is_executing = True
            list(state.registered[0].data.command_generator())
        assert keys
        assert all(key.startswith("sudo -H -n -u app sh -c ") for key in keys)

    def test_classes(self) -> None:
        assert "command" in FactBase.__annotations__
        assert "fact" in ShortFactBase.__annotations__
        assert parameters(get_fact)[:3] == ["state", "host", "cls"]
        assert parameters(OutputLine)[:2] == ["buffer_name", "line"]

    def test_a_failed_fact_fails_the_host(self) -> None:
        assert parameters(State.fail_hosts)[:2] == ["self", "hosts_to_fail"]


class TestChance:
    def test_where_the_clock_and_random_names_come_from(self) -> None:
        assert hasattr(pyinfra.operations.util.files, "datetime")
        assert "uuid4" in vars(pyinfra.api.host)
        assert parameters(Host.get_temp_filename)[:2] == ["self", "hash_key"]

    def test_contexts(self) -> None:
        for context in (ctx_state, ctx_inventory, ctx_host, ctx_config):
            assert hasattr(context, "set")
            assert hasattr(context, "use")

    def test_making_an_inventory(self) -> None:
        inventory = Inventory(([("web1", {"a": 1})], {}), web=(["web1"], {}))
        host = next(iter(inventory))
        assert (host.name, host.data.a, "web" in host.groups) == ("web1", 1, True)
        assert Config(PARALLEL=1).PARALLEL == 1


def test_all_refused_operations_exist() -> None:
    import importlib

    for name in adapter.REFUSED_OPERATIONS:
        module, _, operation = name.partition(".")
        assert hasattr(importlib.import_module(f"pyinfra.operations.{module}"), operation)
