"""Services under systemd, under sysvinit, and where no init system runs (containers, sandboxes).

pyinfra's ``server.service`` takes systemd wherever ``systemctl`` is installed. These operations ask whether systemd
*runs*, and otherwise call the script in /etc/init.d, which needs no init system.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from pyinfra import host
from pyinfra.api import FactBase, operation
from pyinfra.api.operation import OperationMeta
from pyinfra.facts.files import Directory
from pyinfra.operations import files, server
from pyinfra.operations import systemd as systemd_operations

Commands = Generator[str, None, None]


def runs(service: str) -> str:
    """A shell test for whether a service runs, for whatever init system the host has."""
    systemd, script = f"systemctl is-active {service}", f"/etc/init.d/{service} status"
    return f"(if [ -d /run/systemd/system ]; then {systemd}; else {script}; fi) >/dev/null 2>&1"


class Running(FactBase[bool]):
    """Whether a service runs."""

    def command(self, service: str) -> str:
        """Ask the init system that runs."""
        return f"if {runs(service)}; then echo yes; else echo no; fi"

    def process(self, output: Iterable[str]) -> bool:
        """Read the answer."""
        return "yes" in output


def systemd() -> bool:
    """Whether systemd is the init system that runs."""
    return bool(host.get_fact(Directory, path="/run/systemd/system"))


def _control(service: str, verb: str) -> str:
    return f"systemctl {verb} {service}" if systemd() else f"/etc/init.d/{service} {verb}"


@operation()
def start(service: str) -> Commands:
    """Start it if it is down."""
    if host.get_fact(Running, service=service):
        host.noop(f"service {service} runs")
    else:
        yield _control(service, "start")


@operation()
def stop(service: str) -> Commands:
    """Stop it if it runs."""
    if host.get_fact(Running, service=service):
        yield _control(service, "stop")
    else:
        host.noop(f"service {service} is stopped")


@operation(is_idempotent=False)
def restart(service: str) -> Commands:
    """Restart it, or start it if it is down. Guard it: ``_if=config.did_change``."""
    yield _control(service, "restart" if host.get_fact(Running, service=service) else "start")


@operation(is_idempotent=False)
def reload(service: str) -> Commands:
    """Let it read its configuration again, or start it if it is down. Guard it: ``_if=config.did_change``."""
    yield _control(service, "reload" if host.get_fact(Running, service=service) else "start")


def define(service: str, **data: object) -> OperationMeta:
    """Tell the init system about a service of ours, so that it also starts with the machine. Does not start it.

    ``data`` goes to templates/service.unit.j2 or templates/service.init.j2.
    """
    if systemd():
        unit = files.template(
            name=f"Define the unit {service}",
            src="templates/service.unit.j2",
            dest=f"/etc/systemd/system/{service}.service",
            mode="644",
            service=service,
            **data,
        )
        systemd_operations.daemon_reload(name="Let systemd read it", _if=unit.did_change)
        systemd_operations.service(name="Start with the machine", service=service, running=None, enabled=True)
        return unit
    script = files.template(
        name=f"Define the script {service}",
        src="templates/service.init.j2",
        dest=f"/etc/init.d/{service}",
        mode="755",
        service=service,
        **data,
    )
    server.shell(name="Start with the machine", commands=[f"update-rc.d {service} defaults"], _if=script.did_change)
    return script


def remove(service: str) -> None:
    """Stop a service that :func:`define` made, and forget it."""
    stop(name=f"Stop {service}", service=service)
    if systemd():
        systemd_operations.service(name="Do not start with the machine", service=service, running=None, enabled=False)
        unit = files.file(name="Remove the unit", path=f"/etc/systemd/system/{service}.service", present=False)
        systemd_operations.daemon_reload(name="Let systemd forget it", _if=unit.did_change)
        return
    script = files.file(name="Remove the script", path=f"/etc/init.d/{service}", present=False)
    server.shell(
        name="Do not start with the machine", commands=[f"update-rc.d {service} remove"], _if=script.did_change
    )
