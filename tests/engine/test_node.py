from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from engine_doubles import snapshot

from opsflow.engine.node import Node
from opsflow.model.result import Reads
from opsflow.model.snapshot import AppSnapshot, MemberSnapshot


@pytest.fixture
def node() -> Node:
    members = (
        MemberSnapshot(name="lb1", layers=("lb",), status="online", address="10.0.0.1", public_address="1.2.3.4"),
        MemberSnapshot(
            name="app1", layers=("app",), status="online", address="10.0.0.2", private_address="192.168.0.2"
        ),
        MemberSnapshot(name="app2", layers=("app", "lb"), status="stopped"),
    )
    apps = (
        AppSnapshot(name="shop", layers=("app",), revision="r1", release="r1", deploy_to="/srv/shop", deploy=True),
        AppSnapshot(
            name="blog", layers=("app",), revision="r2", release="r2", deploy_to="/srv/blog", environment={"A": "1"}
        ),
    )
    attributes = {"app": {"workers": 2, "hosts": ["a", {"b": 1}]}, "flag": None}
    return Node(
        snapshot(
            "app1", layers=("app",), members=members, layer_names=("lb", "app", "db"), apps=apps, attributes=attributes
        )
    )


def test_the_stack_as_it_is(node: Node) -> None:
    assert [member.name for member in node.stack.layer("app").instances] == ["app1", "app2"]
    assert [member.name for member in node.stack.layer("app").online] == ["app1"]
    assert node.stack.layer("db").instances == ()
    assert [member.address for member in node.stack.online] == ["10.0.0.1", "192.168.0.2"]
    assert node.stack.instance("lb1").public_address == "1.2.3.4"
    assert (node.name, node.layers, node.address) == ("app1", ("app",), "192.168.0.2")
    assert (node.event.type, node.event.reason) == ("setup", "test")


def test_who_reboots_counts_as_online() -> None:
    members = tuple(
        MemberSnapshot(name=status, layers=("app",), status=status)
        for status in ("online", "rebooting", "running_setup", "connection_lost")
    )
    node = Node(snapshot("online", layers=("app",), members=members, layer_names=("app",)))
    assert [member.name for member in node.stack.layer("app").online] == ["online", "rebooting"]


@pytest.mark.parametrize(
    ("read", "reads"),
    [
        (lambda n: n.name, Reads()),
        (lambda n: n.stack.layer("app"), Reads()),
        (lambda n: n.stack.layer("app").instances, Reads(layers=("app",))),
        (
            lambda n: [m.address for m in n.stack.layer("app").online],
            Reads(layers=("app",), instances=("app1", "app2")),
        ),
        (lambda n: n.stack.instance("lb1").address, Reads(instances=("lb1",))),
        (lambda n: n.stack.instances, Reads(layers=("lb", "app", "db"))),
        (lambda n: n.get("app.workers"), Reads(attributes=("app.workers",))),
        (lambda n: n.get("nothing", 1), Reads(attributes=("nothing",))),
        (lambda n: n.attributes["app"], Reads(attributes=("*",))),
        (lambda n: n.app("shop").revision, Reads(apps=("shop",))),
        (lambda n: [a.name for a in n.deploying], Reads()),
        (lambda n: [n.get("b", 0), n.get("a", 0), n.get("b", 0)], Reads(attributes=("b", "a"))),
    ],
)
def test_reads_are_recorded_in_order(node: Node, read: Callable[[Node], Any], reads: Reads) -> None:
    read(node)
    assert node.reads == reads


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (lambda n: n.stack.layer("web"), "stack 'shop' has no layer 'web'; it has lb, app, db"),
        (lambda n: n.stack.instance("x"), "stack 'shop' has no instance 'x'; it has lb1, app1, app2"),
        (lambda n: n.get("app.threads"), "attribute 'app.threads' is not set for app1"),
        (lambda n: n.app("x"), "no layer of app1 has an app 'x'; apps here: shop, blog"),
    ],
)
def test_what_does_not_exist(node: Node, read: Callable[[Node], Any], text: str) -> None:
    with pytest.raises(KeyError) as caught:
        read(node)
    assert text in caught.value.args[0]


def test_an_unknown_field_of_an_app(node: Node) -> None:
    with pytest.raises(AttributeError, match="an app has no 'version'; it has .*revision"):
        _ = node.app("shop").version


@pytest.mark.parametrize(
    "write",
    [
        lambda n: setattr(n, "name", "x"),
        lambda n: setattr(n, "stack", None),
        lambda n: setattr(n.stack, "name", "x"),
        lambda n: setattr(n.stack.layer("app"), "name", "x"),
        lambda n: setattr(n.event, "type", "x"),
        lambda n: setattr(n.stack.instance("lb1"), "name", "x"),
        lambda n: n.attributes.__setitem__("x", 1),
        lambda n: n.attributes["app"].__setitem__("x", 1),
        lambda n: n.get("app").update(x=1),
        lambda n: n.get("app.hosts").append(1),
        lambda n: n.get("app.hosts")[1].update(b=2),
        lambda n: n.app("blog").environment.__setitem__("A", "2"),
        lambda n: setattr(n.app("blog"), "revision", "x"),
    ],
)
def test_everything_is_read_only(node: Node, write: Callable[[Node], Any]) -> None:
    with pytest.raises((AttributeError, TypeError)):
        write(node)


def test_a_set_attribute_without_value_is_no_missing_one(node: Node) -> None:
    assert node.get("flag", 5) is None
