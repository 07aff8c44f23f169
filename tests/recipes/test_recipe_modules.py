"""The recipe library without hosts: what it offers, and what its templates say."""

from __future__ import annotations

import configparser
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jinja2
import pytest

from opsflow.engine.catalog import AstCatalog

RECIPES = Path(__file__).parents[2] / "recipes"
EVENTS = ("setup", "configure", "deploy", "undeploy", "shutdown")

Load = Callable[[str], ModuleType]


def render(template: str, **data: object) -> str:
    # As pyinfra renders them: an unknown name is an error.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701
    return environment.from_string((RECIPES / "templates" / template).read_text()).render(**data)


@pytest.mark.parametrize(
    ("module", "events"),
    [
        ("base", {"setup", "configure"}),
        ("haproxy", {"setup", "configure", "shutdown"}),
        ("redis", {"setup", "configure", "shutdown"}),
        ("python_app", {"setup", "configure", "deploy", "undeploy", "shutdown"}),
    ],
)
def test_a_module_answers_these_events(load: Load, module: str, events: set[str]) -> None:
    found = AstCatalog([RECIPES]).modules()[module]
    assert {event for event in EVENTS if event in found} == events
    assert all(callable(getattr(load(module), event)) for event in events)


@pytest.mark.parametrize("module", sorted(path.stem for path in RECIPES.glob("*.py")))
def test_every_module_imports_and_says_what_it_is(load: Load, module: str) -> None:
    assert load(module).__doc__


@pytest.mark.parametrize("count", [0, 1, 3])
def test_haproxy_gets_one_server_line_an_online_instance(count: int) -> None:
    backends = [SimpleNamespace(name=f"app{n}", address=f"127.77.0.{n}") for n in range(1, count + 1)]
    text = render("haproxy.cfg.j2", address="127.77.0.9", port=80, backends=backends, backend_port=8080)
    servers = [line.split() for line in text.splitlines() if line.startswith("    server ")]
    assert servers == [["server", f"app{n}", f"127.77.0.{n}:8080"] for n in range(1, count + 1)]
    assert "    bind 127.77.0.9:80\n" in text
    assert text.endswith("\n")


def test_a_template_refuses_a_name_that_it_is_not_given() -> None:
    with pytest.raises(jinja2.UndefinedError, match="address"):
        render("haproxy.cfg.j2", port=80, backends=[], backend_port=8080)


@pytest.mark.parametrize(("password", "mode"), [(None, "no"), ('s3cret" x', "yes")])
def test_redis_is_open_only_where_no_password_is_set(password: str | None, mode: str) -> None:
    text = render("redis.conf.j2", address="10.0.0.4", port=6379, maxmemory=None, password=password)
    assert f"protected-mode {mode}\n" in text
    assert "bind 10.0.0.4\n" in text
    assert ("requirepass" in text) is bool(password)


def test_the_environment_reads_the_same_in_a_shell(load: Load) -> None:
    values = {"A": "plain", "B": 'it\'s "so" $HOME `id` \\ x', "C": "two\nlines", "D": ""}
    quoted = {name: load("release")._quoted(value) for name, value in values.items()}
    text = render("environment.j2", variables=quoted)
    script = text + 'printf "%s\\0" "$A" "$B" "$C" "$D"'
    read = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert read.split("\0")[:-1] == list(values.values())


SERVICE = {
    "service": "app-shop",
    "directory": "/srv/www/shop",
    "command": "python3 app.py",
    "run_as": "deploy",
    "run_as_group": "www-data",
}


def test_the_unit_is_one() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.read_string(render("service.unit.j2", **SERVICE))
    assert unit["Service"]["User"] == "deploy"
    assert unit["Service"]["EnvironmentFile"] == "/srv/www/shop/shared/environment"


def test_the_init_script_is_valid_shell() -> None:
    script = render("service.init.j2", **SERVICE)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert "# Provides:          app-shop\n" in script
