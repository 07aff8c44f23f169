"""The recipe library on real hosts: what it leaves there, and that a second run changes nothing."""

from __future__ import annotations

import json
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from opsflow.clock import SystemClock
from opsflow.engine import PyinfraEngine
from opsflow.model.compute import Ssh
from opsflow.model.machine import Machine, MachineRequest
from opsflow.model.result import HostResult, HostStatus, OperationStatus
from opsflow.model.snapshot import AppSnapshot, EventSnapshot, MemberSnapshot, NodeSnapshot
from opsflow.ports import HostJob
from opsflow.providers.compute.sandbox import SandboxProvider

pytestmark = pytest.mark.sandbox

PROJECT = Path(__file__).parents[2]
SITE = '''"""Deploys an app that needs no service."""

import release

from opsflow import Node


def setup(node: Node) -> None:
    release.user()


def deploy(node: Node) -> None:
    for app in node.deploying:
        release.deploy(app)
        release.environment(app, {"COLOUR": "green"})


def undeploy(node: Node) -> None:
    for app in node.deploying:
        release.undeploy(app)
'''
SYSTEMCTL = r"""#!/bin/sh
# Stands in for systemd, which cannot run in a sandbox: keeps what it is told, and starts what a unit says.
echo "$*" >>/run/systemctl.log
for last; do :; done
name=${last%.service} unit=/etc/systemd/system/${last%.service}.service
get() { sed -n "s/^$1=//p" "$unit"; }
running() { start-stop-daemon --status --pidfile "/run/$name.pid"; }
end() { start-stop-daemon --stop --oknodo --pidfile "/run/$name.pid" --retry 5; }
begin() {
    set -a
    . "$(get EnvironmentFile)"
    start-stop-daemon --start --background --make-pidfile --pidfile "/run/$name.pid" \
        --chdir "$(get WorkingDirectory)" --chuid "$(get User)" --startas /bin/sh -- -c "exec $(get ExecStart)"
}
case $1 in
    is-active) running ;;
    start) begin ;;
    restart) end && begin ;;
    stop) end ;;
    enable) touch "/run/$name.enabled" ;;
    disable) rm -f "/run/$name.enabled" ;;
    show)
        echo "Id=$name.service"
        running && echo SubState=running || echo SubState=dead
        test -e "/run/$name.enabled" && echo UnitFileState=enabled || echo UnitFileState=disabled ;;
esac
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKbYQIFgwf+uWHrHwF32rb9UTXm7v6DsGv+kYY4WGzSy ada"


@dataclass(eq=False)
class Host:
    """A sandbox, and what recipes see on it."""

    engine: PyinfraEngine
    machine: Machine
    name: str
    layer: str
    others: Sequence[MemberSnapshot] = ()
    attributes: dict[str, Any] = field(default_factory=dict)

    def run(self, *recipes: str, apps: Sequence[AppSnapshot] = (), event: str = "configure") -> HostResult:
        me = MemberSnapshot(name=self.name, layers=(self.layer,), status="online", address=self.machine.address)
        members = (me, *self.others)
        node = NodeSnapshot(
            stack="shop",
            name=self.name,
            layers=(self.layer,),
            members=members,
            layer_names=tuple(dict.fromkeys(layer for member in members for layer in member.layers)),
            attributes=self.attributes,
            apps=tuple(apps),
            event=EventSnapshot(type=event, reason="a test"),
        )
        job = HostJob(run="1", command="1-1", epoch=1, machine=self.machine, ssh=Ssh(), recipes=recipes, node=node)
        self.engine.check([job])
        return self.engine.run(job, lambda _: None, threading.Event())

    def done(self, *recipes: str, **settings: Any) -> list[str]:
        """Names of the operations that changed something; the run must succeed."""
        result = self.run(*recipes, **settings)
        assert result.status is HostStatus.OK, (result.detail, result.error)
        return [found.name for found in result.operations if found.status is OperationStatus.CHANGED]

    def shell(self, command: str) -> str:
        output: list[bytes] = []
        code = self.engine.exec(self.machine, Ssh(), command, timeout=20, output=lambda _, data: output.append(data))
        text = b"".join(output).decode()
        assert code == 0, text
        return text.strip()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Machine]]:
    provider = SandboxProvider(tmp_path_factory.mktemp("project") / ".opsflow" / "sandbox", SystemClock())
    made: list[Machine] = []

    def make(name: str) -> Machine:
        made.append(provider.create(MachineRequest(token=f"recipes-{name}", stack="shop", instance=name)))
        return made[-1]

    yield make
    for machine in made:
        provider.terminate(machine)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PyinfraEngine]:
    own = tmp_path_factory.mktemp("recipes")
    (own / "site_app.py").write_text(SITE)
    engine = PyinfraEngine([PROJECT / "recipes", own], SystemClock())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def hosts(engine: PyinfraEngine, machines: Callable[[str], Machine]) -> Callable[..., Host]:
    def make(name: str, layer: str = "app") -> Host:
        machine = machines(name)
        assert engine.wait_ready(machine, Ssh(), 20, threading.Event()) is None
        return Host(engine, machine, name, layer)

    return make


@pytest.fixture(scope="module")
def host(hosts: Callable[..., Host]) -> Host:
    return hosts("app1")


def bundle(directory: Path, files: dict[str, str]) -> str:
    path = directory / "bundle.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, BytesIO(text.encode()))
    return str(path)


def app(release: str, path: str | None = None, **settings: Any) -> AppSnapshot:
    known = {"name": "site", "layers": ("app",), "revision": release, "deploy_to": "/srv/www/site", "deploy": True}
    return AppSnapshot.model_validate(known | {"release": release, "bundle": path} | settings)


def storefront(directory: Path, **settings: Any) -> AppSnapshot:
    files = {path.name: path.read_text() for path in (PROJECT / "storefront").iterdir() if path.is_file()}
    return app("r1", bundle(directory, files), **settings)


def page(host: Host) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{host.machine.address}:8080/", timeout=5) as answer:
        return dict(json.loads(answer.read()))


def test_base_writes_our_block_of_the_hosts_file_and_nothing_else(host: Host) -> None:
    before = host.shell("cat /etc/hosts")
    host.others = (
        MemberSnapshot(name="db1", layers=("db",), status="online", address="10.0.0.7"),
        MemberSnapshot(name="db2", layers=("db",), status="stopped", address="10.0.0.8"),
    )
    assert host.done("base.setup") == ["Names of the stack"]
    assert host.done("base.setup", "base.configure") == []
    after = host.shell("cat /etc/hosts")
    assert after.startswith(before)
    block = after.removeprefix(before).strip().splitlines()
    assert block[1:-1] == [f"{host.machine.address} app1", "10.0.0.7 db1"]
    host.others = ()
    assert host.done("base.configure") == ["Names of the stack"]
    assert "db1" not in host.shell("cat /etc/hosts")
    assert host.shell("cat /etc/hosts").startswith(before)


def test_base_lets_people_in(host: Host) -> None:
    host.attributes = {"users": {"ada": {"key": KEY}}}
    assert host.done("base.configure") == ["User ada"]
    assert host.done("base.configure") == []
    assert host.shell("cat ~ada/.ssh/authorized_keys") == KEY
    host.attributes = {}


def test_the_life_of_releases(host: Host, tmp_path: Path) -> None:
    host.done("site_app.setup")
    assert host.done("site_app.setup") == []

    for number in range(1, 5):
        path = bundle(tmp_path, {"index.html": f"version {number}", "log/stray": "x"})
        changed = host.done("site_app.deploy", apps=[app(f"r{number}", path, keep_releases=3)], event="deploy")
        assert f"site: release r{number}" in changed
        assert host.done("site_app.deploy", apps=[app(f"r{number}", path, keep_releases=3)], event="deploy") == []
        assert host.shell("cat /srv/www/site/current/index.html") == f"version {number}"

    assert host.shell("ls -A /srv/www/site/releases").split() == ["r2", "r3", "r4"]
    assert host.shell("stat -c %U:%G /srv/www/site/current/index.html") == "deploy:www-data"
    assert host.shell("stat -c %a:%U:%G /srv/www/site/shared/environment") == "640:root:www-data"
    assert host.shell("cd /srv/www/site && stat -c %U . shared releases shared/log").split() == [
        "root", "root", "deploy", "deploy",
    ]  # fmt: skip
    assert host.shell("readlink /srv/www/site/current/log") == "/srv/www/site/shared/log"

    back = app("r3", rollback_to="r3")
    assert host.done("site_app.deploy", apps=[back], event="rollback") == ["site: back to r3"]
    assert host.shell("cat /srv/www/site/current/index.html") == "version 3"
    assert host.done("site_app.deploy", apps=[back], event="rollback") == []

    # A new release after a rollback: the one that was left is the first to go.
    path = bundle(tmp_path, {"index.html": "version 5"})
    host.done("site_app.deploy", apps=[app("r5", path, keep_releases=2)], event="deploy")
    assert host.shell("ls -A /srv/www/site/releases").split() == ["r3", "r5"]

    gone = host.run("site_app.deploy", apps=[app("r1", rollback_to="r1")], event="rollback")
    assert gone.status is HostStatus.FAILED
    assert "release r1 is no longer in /srv/www/site/releases" in gone.error
    assert host.shell("cat /srv/www/site/current/index.html") == "version 5"

    assert host.done("site_app.undeploy", apps=[app("r5")], event="undeploy") == ["site: delete"]
    assert host.done("site_app.undeploy", apps=[app("r5")], event="undeploy") == []
    assert host.shell("ls -A /srv/www") == ""


def test_an_interrupted_unpacking_is_not_a_release(host: Host, tmp_path: Path) -> None:
    host.done("site_app.setup")
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(b"not an archive")
    failed = host.run("site_app.deploy", apps=[app("r1", str(broken))], event="deploy")
    assert failed.status is HostStatus.FAILED
    assert host.shell("ls /srv/www/site/releases; ls -d /srv/www/site/current 2>/dev/null || true") == ""
    good = bundle(tmp_path, {"index.html": "fine"})
    host.done("site_app.deploy", apps=[app("r1", good)], event="deploy")
    assert host.shell("cat /srv/www/site/current/index.html") == "fine"
    host.done("site_app.undeploy", apps=[app("r1")], event="undeploy")


def test_a_python_app_without_an_init_system(host: Host, tmp_path: Path) -> None:
    files = {path.name: path.read_text() for path in (PROJECT / "storefront").iterdir() if path.is_file()}
    secret = 's3cret `value` "of" $HOME'
    shop = app("r1", bundle(tmp_path, files), environment={"GREETING": secret}, secure=("GREETING",))
    host.done("python_app.setup")
    assert host.done("python_app.setup") == []
    assert "Restart site" in host.done("python_app.deploy", apps=[shop], event="deploy")
    assert host.done("python_app.deploy", apps=[shop], event="deploy") == []
    idle = shop.model_copy(update={"deploy": False})
    assert host.done("python_app.configure", apps=[idle]) == []

    assert page(host) | {"instance": "app1", "greeting": secret} == page(host)
    assert host.shell("stat -c %U /proc/$(cat /run/app-site.pid)") == "deploy"
    assert "s3cret" not in host.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")

    host.others = (MemberSnapshot(name="store1", layers=("store",), status="online", address="127.0.0.1"),)
    changed = ["site: environment", "Restart site", "site answers"]
    assert host.done("python_app.configure", apps=[idle]) == changed
    host.others = ()

    assert host.done("python_app.shutdown", apps=[idle], event="shutdown") == ["Stop site"]
    assert host.done("python_app.shutdown", apps=[idle], event="shutdown") == []
    host.done("python_app.undeploy", apps=[shop], event="undeploy")
    assert host.done("python_app.undeploy", apps=[shop], event="undeploy") == []
    assert host.shell("ls /etc/rc?.d | grep -c app-site || true") == "0"


def test_a_python_app_under_systemd(hosts: Callable[..., Host], tmp_path: Path) -> None:
    host, shop = hosts("app2"), storefront(tmp_path)
    host.shell("mkdir -p /run/systemd/system")
    host.shell(f"cat >/usr/local/bin/systemctl <<'END'\n{SYSTEMCTL}END\nchmod +x /usr/local/bin/systemctl")
    host.done("python_app.setup")
    assert "Define the unit app-site" in host.done("python_app.deploy", apps=[shop], event="deploy")
    assert host.done("python_app.deploy", apps=[shop], event="deploy") == []
    assert page(host)["instance"] == "app2"
    assert host.done("python_app.shutdown", apps=[shop], event="shutdown") == ["Stop site"]
    assert host.done("python_app.deploy", apps=[shop], event="deploy") == ["site runs", "site answers"]
    host.done("python_app.undeploy", apps=[shop], event="undeploy")
    assert host.done("python_app.undeploy", apps=[shop], event="undeploy") == []
    told = [line.split()[0] for line in host.shell("cat /run/systemctl.log").splitlines()]
    told = [verb for verb in told if verb not in ("show", "is-active")]

    # A service that is down is started, not restarted.
    assert told == ["daemon-reload", "enable", "start", "stop", "start", "stop", "disable", "daemon-reload"]
    assert host.shell("ls /etc/init.d | grep -c app-site || true") == "0"


def test_an_app_that_does_not_start_says_why(host: Host, tmp_path: Path) -> None:
    host.done("python_app.setup")
    path = bundle(tmp_path, {"app.py": "raise SystemExit('no database configured')"})
    result = host.run("python_app.deploy", apps=[app("r1", path)], event="deploy")
    assert result.status is HostStatus.FAILED
    assert "no database configured" in result.error
    host.done("python_app.undeploy", apps=[app("r1")], event="undeploy")


def test_haproxy_and_redis_twice_on_every_event(hosts: Callable[..., Host]) -> None:
    lb, store = hosts("lb1", "lb"), hosts("store1", "store")
    modules = {lb: "haproxy", store: "redis"}

    def everywhere(event: str) -> dict[str, list[str]]:
        with ThreadPoolExecutor() as pool:
            done = pool.map(lambda host: host.done(f"{modules[host]}.{event}", event=event), modules)
        return {host.name: changed for host, changed in zip(modules, done, strict=True)}

    nothing: dict[str, list[str]] = {"lb1": [], "store1": []}
    lb.others = (MemberSnapshot(name="app1", layers=("app",), status="booting"),)
    assert all(everywhere("setup").values())
    assert everywhere("setup") == nothing
    assert all(everywhere("configure").values())
    assert everywhere("configure") == nothing

    with pytest.raises(urllib.error.HTTPError, match="503") as nobody:
        urllib.request.urlopen(f"http://{lb.machine.address}/", timeout=5)
    nobody.value.close()
    lb.others = (MemberSnapshot(name="app1", layers=("app",), status="online", address=store.machine.address),)
    assert lb.done("haproxy.configure")[-1] == "Reload HAProxy"
    assert f"server app1 {store.machine.address}:8080" in lb.shell("cat /etc/haproxy/haproxy.cfg")

    before = lb.shell("cat /etc/haproxy/haproxy.cfg")
    lb.attributes = {"haproxy": {"port": "what"}}
    for _ in range(2):
        refused = lb.run("haproxy.configure")
        assert refused.status is HostStatus.FAILED
        assert "invalid character" in refused.error
    assert lb.shell("cat /etc/haproxy/haproxy.cfg") == before
    lb.attributes = {}
    lb.done("haproxy.configure")

    ask = f"redis-cli -h {store.machine.address} ping"
    assert store.shell(ask) == "PONG"
    store.attributes = {"redis": {"password": 's3cret "x'}}
    assert store.done("redis.configure") == ["Write Redis' configuration", "Restart Redis"]
    assert "NOAUTH" in store.shell(ask)
    assert store.shell("stat -c %a:%U /etc/redis/redis.conf") == "640:redis"

    assert all(everywhere("shutdown").values())
    assert everywhere("shutdown") == nothing
