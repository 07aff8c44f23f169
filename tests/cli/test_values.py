"""What users type as option values."""

from __future__ import annotations

import pytest

from opsflow.cli.values import attributes, seconds, suggestion
from opsflow.errors import UsageError


def test_settings_are_typed_and_nested() -> None:
    assert attributes(["app.workers=4", "app.debug=true", "app.name=shop", "ratio=0.5", "empty=", "nothing=null"]) == {
        "app": {"workers": 4, "debug": True, "name": "shop"},
        "ratio": 0.5,
        "empty": "",
        "nothing": None,
    }


@pytest.mark.parametrize("text", ["no", "on", "0644", "1e3x", "1:30", "2026-01-01", "a=b", "-"])
def test_what_yaml_1_1_would_misread_stays_text(text: str) -> None:
    assert attributes([f"key={text}"]) == {"key": text}


def test_lists_objects_and_quoted_strings_are_yaml() -> None:
    found = attributes(["hosts=[a, b]", "limits={cpu: 2}", 'port="8080"'])
    assert found == {"hosts": ["a", "b"], "limits": {"cpu": 2}, "port": "8080"}


def test_a_later_setting_wins_and_objects_merge() -> None:
    assert attributes(["a.b=1", "a.c=2", "a.b=3"]) == {"a": {"b": 3, "c": 2}}


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("workers", "KEY=VALUE"),
        ("=4", "is not a key"),
        ("a..b=4", "is not a key"),
        ("a b=4", "is not a key"),
        ("hosts=[a", "not valid YAML"),
        ("x={a: !!python/object:os.system 1}", "not valid YAML"),
    ],
)
def test_a_wrong_setting_says_what_would_be_right(setting: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        attributes([setting])


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("0", 0)])
def test_times(text: str, expected: float) -> None:
    assert seconds("--timeout", text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-5", "10 years", "1h30"])
def test_a_wrong_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--timeout"):
        seconds("--timeout", text)


def test_suggestions_name_the_nearest_or_what_there_is() -> None:
    assert suggestion("ap1", ["app1", "lb1"]) == "did you mean 'app1'?"
    assert suggestion("zzz", ["app1", "lb1"]) == "there is app1, lb1"
    assert suggestion("zzz", []) == ""
