"""A stack answers for its instances: layers in order, attributes, machines, time limits, apps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsflow.model.attributes import merge, merge_all
from opsflow.model.base import Model
from opsflow.model.stack import Stack


def stack(**fields: Any) -> Stack:
    return Stack.model_validate({"stack": "shop", "compute": {"provider": "sandbox"}, **fields})


def volume(**fields: Any) -> dict[str, Any]:
    return {"layers": {"a": {"volumes": [{"number_of_disks": 1, **fields}]}}}


THREE = {
    "one": {"instances": {"a": {"layers": ["three", "two"]}}},
    "two": {"instances": {"b": {"layers": ["one", "two"]}}},
    "three": {"instances": {"c": {}}},
}


class TestMembers:
    def test_layers_are_in_the_order_of_the_stack(self) -> None:
        members = stack(layers=THREE, instances={"d": {"layers": ["three", "one"]}}).members
        assert {name: member.layers for name, member in members.items()} == {
            "a": ("one", "two", "three"),
            "b": ("one", "two"),
            "c": ("three",),
            "d": ("one", "three"),
        }

    def test_instances_are_in_the_order_of_the_file(self) -> None:
        found = stack(layers={"z": {"instances": {"z1": {}, "a1": {}}}, "a": {"instances": {"m1": {}}}})
        assert list(found.members) == ["z1", "a1", "m1"]

    def test_apps_follow_layers(self) -> None:
        found = stack(
            layers={"web": {}, "api": {}, "db": {}},
            apps={
                "shop": {"layers": ["web"], "source": {"git": "x"}},
                "admin": {"layers": ["api", "web"], "source": {"git": "x"}},
            },
        )
        assert found.apps_of(("web",)) == ("shop", "admin")
        assert found.apps_of(("api",)) == ("admin",)
        assert found.apps_of(("db",)) == ()
        assert found.apps_of(()) == ()


class TestAttributes:
    def test_levels(self) -> None:
        found = stack(
            attributes={"a": 0, "b": 0, "c": 0, "d": 0, "o": {"x": 0, "y": 0}, "l": [1, 2]},
            layers={
                "one": {"attributes": {"b": 1, "c": 1, "d": 1, "o": {"y": 1}}},
                "two": {
                    "attributes": {"c": 2, "d": 2},
                    "instances": {"x": {"layers": ["one"], "attributes": {"d": 3, "l": [3]}}},
                },
            },
        )
        assert found.attributes_of("x") == {"a": 0, "b": 1, "c": 2, "d": 3, "o": {"x": 0, "y": 1}, "l": [3]}
        assert found.attributes_of("x", {"o": {"z": 4}}, {"a": 5})["o"] == {"x": 0, "y": 1, "z": 4}
        assert found.attributes == {"a": 0, "b": 0, "c": 0, "d": 0, "o": {"x": 0, "y": 0}, "l": [1, 2]}

    plain = st.one_of(st.integers(), st.lists(st.integers(), max_size=2))
    objects = st.recursive(
        st.dictionaries(st.sampled_from("abc"), plain, max_size=3),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner | st.integers(), max_size=3),
        max_leaves=6,
    )

    @given(objects, objects, objects)
    def test_merging(self, one: dict[str, Any], two: dict[str, Any], three: dict[str, Any]) -> None:
        assert merge(one, {}) == merge({}, one) == merge(one, one) == one
        assert merge_all([one, two, three]) == merge(merge(one, two), three)
        assert merge(one, two).keys() == one.keys() | two.keys()
        for key, value in two.items():
            if not isinstance(value, dict):
                assert merge(one, two)[key] == value


class TestMachines:
    def test_the_nearest_setting_wins(self) -> None:
        found = stack(
            machine={"os": "Debian 12", "instance_type": "small", "ebs_optimized": True},
            layers={
                "one": {"machine": {"instance_type": "medium", "availability_zone": "a"}},
                "two": {
                    "machine": {"availability_zone": "b"},
                    "instances": {"x": {"layers": ["one"], "ebs_optimized": False}, "y": {}},
                },
            },
        )
        machine = found.machine_of("x")
        assert (machine.os, machine.instance_type, machine.availability_zone) == ("Debian 12", "medium", "b")
        assert machine.ebs_optimized is False
        assert found.machine_of("y").ebs_optimized is True

    def test_time_limits_are_those_of_the_first_layer_that_has_some(self) -> None:
        found = stack(
            timeouts={"run": 100},
            layers={
                "one": {"instances": {"a": {}}},
                "two": {"timeouts": {"run": 200}, "instances": {"b": {"layers": ["one"]}}},
                "three": {"timeouts": {"run": 300}, "instances": {"c": {"layers": ["two"]}}},
            },
        )
        assert [found.timeouts_of(name).run for name in "abc"] == [100, 200, 200]


class TestRules:
    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"layers": {}}, "at least 1"),
            ({"layers": {"a": {"instances": {"x": {}}}}, "instances": {"x": {"layers": ["a"]}}}, "also declared"),
            ({"layers": {"a": {}}, "instances": {"x": {}}}, "needs layers"),
            ({"layers": {"a": {"instances": {"x": {"layers": ["b"]}}}}}, "no layer 'b'"),
            ({"layers": {"a": {}}, "use_opsworks_security_groups": False}, "needs security_group_ids"),
            ({"layers": {"a": {}}, "elastic_ips": ["1.2.3"]}, "not an IP address"),
            ({"layers": {"a": {}}, "recipe_paths": ["../recipes"]}, "stays inside"),
            (
                volume(mount_point="/srv/www", size=1),
                "reserved",
            ),
            (
                {
                    "layers": {
                        "a": {"volumes": [{"mount_point": "/x", "number_of_disks": 1, "size": 9, "raid_level": 5}]}
                    }
                },
                "RAID 5 needs at least 3",
            ),
            (
                {
                    "layers": {
                        "a": {"volumes": [{"mount_point": "/x", "number_of_disks": 1, "size": 9, "volume_type": "st1"}]}
                    }
                },
                "125 to 16384 GiB",
            ),
            (
                {
                    "layers": {
                        "a": {"volumes": [{"mount_point": "/x", "number_of_disks": 1, "size": 9, "volume_type": "io1"}]}
                    }
                },
                "needs iops",
            ),
            ({"layers": {"a": {"scaling": {"up": {"cpu": 30}, "down": {"cpu": 30}}}}}, "would flap"),
            ({"layers": {"a": {"scaling": {"up": {"alarms": ["a"] * 6}}}}}, "at most 5"),
            ({"layers": {"a": {"tags": {"aws:x": "1"}}}}, "reserved"),
            ({"layers": {"a": {}}, "tags": {"Name": "1"}}, "reserved"),
            ({"layers": {"a": {}}, "tags": {"x": "y" * 256}}, "at most 255"),
            ({"layers": {"a": {}}, "tags": {"x": "a\nb"}}, "letters, digits"),
            ({"layers": {"a": {"instances": {"x": {"host": "-oProxyCommand=x"}}}}}, "pattern"),
            ({"layers": {"a": {"instances": {"x": {"elastic_ip": "localhost"}}}}}, "not an IP address"),
        ],
    )
    def test_wrong(self, fields: dict[str, Any], why: str) -> None:
        with pytest.raises(ValueError, match=why):
            stack(**fields)

    def test_scaling_is_apart_where_both_sides_say_something(self) -> None:
        scaling = stack(layers={"a": {"scaling": {"up": {"cpu": -1}, "down": {"memory": 90}}}}).layers["a"].scaling
        assert scaling is not None
        assert (scaling.up.wait, scaling.down.wait, scaling.down.cpu) == (5, 10, 30)

    def test_a_stack_is_frozen(self) -> None:
        found = stack(layers={"a": {}})
        with pytest.raises(ValueError, match="frozen"):
            found.stack = "other"  # type: ignore[misc]

    def test_defaults_of_opsworks(self) -> None:
        layer = stack(layers={"a": {}}).layers["a"]
        assert layer.auto_healing is True
        assert (layer.shutdown.timeout, layer.shutdown.drain) == (120, True)
        assert stack(layers={"a": {}}).hostname_theme == "Layer_Dependent"

    def test_every_model_is_frozen_and_closed(self) -> None:
        def below(model: type[Model]) -> list[type[Model]]:
            return [model, *(deeper for one in model.__subclasses__() for deeper in below(one))]

        for model in below(Model):
            assert model.model_config["frozen"], model
            assert model.model_config["extra"] == "forbid", model
