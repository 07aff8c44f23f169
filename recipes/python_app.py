"""A Python web application, run by systemd or by a script in /etc/init.d where no systemd runs.

It runs as the user ``deploy`` in its current release and reads its settings from its environment: INSTANCE, BIND, PORT,
REDIS_HOST and REDIS_PORT, and what the stack file gives the app.

Attributes: ``app.port`` (8080), ``redis.layer`` (store), ``redis.port`` (6379), ``redis.password``.
Attributes of the app itself: ``command`` (python3 app.py) and ``health`` (/health), the page that tells that it works.
"""

from __future__ import annotations

import packages
import release
import service
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import server
from pyinfra.operations.util import any_changed

from opsflow import AppView, Node


def setup(node: Node) -> None:
    packages.present("python3")
    release.user()


def configure(node: Node) -> None:
    for app in node.apps:
        if release.deployed(app):
            _run(node, app, release.environment(app, settings(node)))


def deploy(node: Node) -> None:
    for app in node.deploying:
        switched = release.deploy(app)
        _run(node, app, switched, release.environment(app, settings(node)), _define(app))


def undeploy(node: Node) -> None:
    for app in node.deploying:
        service.remove(_service(app))
        release.undeploy(app)


def shutdown(node: Node) -> None:
    for app in node.apps:
        service.stop(name=f"Stop {app.name}", service=_service(app))


def settings(node: Node) -> dict[str, str]:
    """The environment of every app on this instance, from the stack as it is now."""
    found = {"INSTANCE": node.name, "BIND": str(node.address), "PORT": str(node.get("app.port", 8080))}
    layers = [layer for layer in node.stack.layers if layer.name == node.get("redis.layer", "store")]
    for store in [member for layer in layers for member in layer.online][:1]:
        found |= {"REDIS_HOST": str(store.address), "REDIS_PORT": str(node.get("redis.port", 6379))}
        if password := node.get("redis.password", None):
            found["REDIS_PASSWORD"] = password
    return found


def _run(node: Node, app: AppView, *reasons: OperationMeta) -> None:
    """Restart the app if one of ``reasons`` changed something, see that it runs, and wait until it answers."""
    restarted = service.restart(name=f"Restart {app.name}", service=_service(app), _if=any_changed(*reasons))
    started = service.start(name=f"{app.name} runs", service=_service(app))
    server.shell(
        name=f"{app.name} answers",
        commands=[_answers(node, app)],
        _if=any_changed(restarted, started),
        _su_user=release.USER,
    )


def _answers(node: Node, app: AppView) -> str:
    """Wait for the app's health page for ten seconds, or until it ends; then show the end of its log."""
    port = app.environment.get("PORT") or node.get("app.port", 8080)
    url = f"http://{node.address}:{port}{app.attributes.get('health', '/health')}"
    ask = f"python3 -c 'import urllib.request; urllib.request.urlopen(\"{url}\", timeout=5)' 2>/dev/null"
    return (
        f"for attempt in $(seq 40); do {ask} && exit 0; sleep 0.25; {service.runs(_service(app))} || break; done;"
        f" echo '{app.name} does not answer at {url}; the end of its log:' >&2;"
        f" tail -n 20 {app.deploy_to}/shared/log/app.log >&2; exit 1"
    )


def _service(app: AppView) -> str:
    return f"app-{app.name}"


def _define(app: AppView) -> OperationMeta:
    return service.define(
        _service(app),
        directory=app.deploy_to,
        command=app.attributes.get("command", "python3 app.py"),
        run_as=release.USER,
        run_as_group=release.GROUP,
    )
