"""Releases of an app on an instance, as OpsWorks laid them out.

::

    /srv/www/NAME/releases/RELEASE    one directory a release, the newest five are kept
    /srv/www/NAME/shared/             what outlives releases: log, pids, system and the environment
    /srv/www/NAME/current             -> releases/RELEASE

A recipe that deploys calls :func:`deploy`, and restarts its service when what that returns did change.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.operation import OperationMeta
from pyinfra.facts.files import Directory, Link
from pyinfra.operations import files, server

from opsflow import AppView

USER, GROUP = "deploy", "www-data"
SHARED = {"log": "log", "tmp/pids": "pids", "public/system": "system"}
"""Path in a release -> directory under shared/ that it is a link to."""


def user() -> None:
    """The user that owns releases and runs apps."""
    server.group(name=f"Group {GROUP}", group=GROUP, system=True)
    server.user(  # noqa: S604 - a login shell, not a shell=True
        name=f"User {USER}",
        user=USER,
        group=GROUP,
        home=f"/home/{USER}",
        shell="/bin/sh",
        system=True,
        create_home=True,
    )


def deploy(app: AppView) -> OperationMeta:
    """Make the app's release the current one; when the event is a rollback, the release that it goes back to."""
    if app.rollback_to:
        return rollback(app)
    _directories(app)
    if not host.get_fact(Directory, path=f"{app.deploy_to}/releases/{app.release}"):
        _unpack(app)
    switched = _switch(name=f"{app.name}: release {app.release}", deploy_to=app.deploy_to, release=app.release)
    _prune(app, switched)
    return switched


def rollback(app: AppView) -> OperationMeta:
    """Make the release before the current one the current one again."""
    return _switch(name=f"{app.name}: back to {app.rollback_to}", deploy_to=app.deploy_to, release=app.rollback_to)


def undeploy(app: AppView) -> OperationMeta:
    """Delete the app with all its releases, its logs and its environment."""
    return files.directory(name=f"{app.name}: delete", path=app.deploy_to, present=False)


def deployed(app: AppView) -> bool:
    """Whether the instance has a current release of the app."""
    return bool(host.get_fact(Link, path=f"{app.deploy_to}/current"))


def environment(app: AppView, variables: Mapping[str, str]) -> OperationMeta:
    """Write shared/environment: ``variables``, and over them those of the app.

    systemd reads it as an EnvironmentFile and a shell can source it. Only root and the app's own user can read it.
    """
    values = {**variables, **app.environment}
    return files.template(
        name=f"{app.name}: environment",
        src="templates/environment.j2",
        dest=f"{app.deploy_to}/shared/environment",
        user="root",
        group=GROUP,
        mode="640",
        variables={key: _quoted(value) for key, value in values.items()},
    )


def _quoted(value: str) -> str:
    for special in '\\"$`':
        value = value.replace(special, f"\\{special}")
    return f'"{value}"'


def _directories(app: AppView) -> None:
    # What root reads and switches is root's: an app that was broken into must not choose what root writes or runs.
    for part in ("", "/shared"):
        path = f"{app.deploy_to}{part}"
        files.directory(name=f"Directory {path}", path=path, user="root", group=GROUP, mode="755")
    for part in ("/releases", *(f"/shared/{name}" for name in SHARED.values())):
        path = f"{app.deploy_to}{part}"
        files.directory(name=f"Directory {path}", path=path, user=USER, group=GROUP, mode="755")


def _unpack(app: AppView) -> None:
    """Unpack beside the releases and move it into place: a release is there as a whole or not at all."""
    releases, unpacked = f"{app.deploy_to}/releases", f"{app.deploy_to}/releases/.incoming"
    bundle = f"{unpacked}.tar.gz"
    files.put(name=f"{app.name}: send {app.release}", src=app.bundle, dest=bundle, mode="640", _su_user=USER)
    server.shell(
        name=f"{app.name}: unpack {app.release}",
        commands=[
            f"rm -rf {unpacked} && mkdir {unpacked} && tar -xzf {bundle} -C {unpacked} --no-same-owner",
            *(_share(unpacked, path, f"{app.deploy_to}/shared/{name}") for path, name in SHARED.items()),
            f"mv -T {unpacked} {releases}/{app.release} && rm {bundle}",
        ],
        _su_user=USER,
    )


def _share(unpacked: str, path: str, shared: str) -> str:
    link = f"{unpacked}/{path}"
    return f"mkdir -p {Path(link).parent} && rm -rf {link} && ln -s {shared} {link}"


def _prune(app: AppView, switched: OperationMeta) -> None:
    """Keep the releases that were current last, as many as the app asks for; the current one is one of them."""
    older = f"ls -1t | grep -vxF {app.release} | tail -n +{app.keep_releases}"
    server.shell(
        name=f"{app.name}: keep {app.keep_releases} releases",
        commands=[f'cd {app.deploy_to}/releases && {older} | while read -r old; do rm -rf "./$old"; done'],
        _if=switched.did_change,
        _su_user=USER,
    )


@operation()
def _switch(deploy_to: str, release: str) -> Generator[str, None, None]:
    """Point ``current`` at a release, in one step: there is always a current release."""
    current, target = f"{deploy_to}/current", f"{deploy_to}/releases/{release}"
    link = host.get_fact(Link, path=current)
    if link and link["link_target"] == target:
        host.noop(f"{release} is the current release")
        return
    yield f"test -d {target} || {{ echo 'release {release} is no longer in {deploy_to}/releases' >&2; exit 1; }}"
    yield f"touch -h {target}"  # _prune goes by the time at which a release became current
    yield f"ln -sfn {target} {current}.new && mv -T {current}.new {current}"
