"""Names that users choose."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from opsflow.model.names import (
    RESERVED,
    AppName,
    InstanceName,
    LayerName,
    ModuleName,
    RecipeName,
    ScheduleName,
    StackName,
)

KINDS = {
    "stack": StackName,
    "layer": LayerName,
    "instance": InstanceName,
    "app": AppName,
    "schedule": ScheduleName,
    "module": ModuleName,
    "recipe": RecipeName,
}
ADAPTERS = {kind: TypeAdapter(rule) for kind, rule in KINDS.items()}


def why_not(kind: str, name: str) -> str:
    with pytest.raises(ValidationError) as caught:
        ADAPTERS[kind].validate_python(name)
    return str(caught.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("stack", name) for name in ("a", "shop", "shop-2", "x" * 40)),
        *(("layer", name) for name in ("a", "php-app", "app_1", "v1.2", "1st")),
        *(("instance", name) for name in ("a", "1", "web-1", "x" * 63)),
        *(("app", name) for name in ("simplephpapp", "my_app", "a-b")),
        *(("module", name) for name in ("nginx", "company.nginx", "_private")),
        *(("recipe", name) for name in ("nginx.setup", "company.nginx.setup")),
    ],
)
def test_good(kind: str, name: str) -> None:
    assert ADAPTERS[kind].validate_python(name) == name


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("stack", name) for name in ("", "Shop", "1shop", "shop-", "-shop", "sh_op", "x" * 41)),
        *(("layer", name) for name in ("", "App", "-app", ".app", "..", "a/b", "x" * 33)),
        *(("instance", name) for name in ("", "web_1", "web.1", "-web", "web-", "Web", "x" * 64)),
        *(
            ("recipe", name)
            for name in ("nginx", "nginx.", ".setup", "nginx::setup", "a-b.setup", "nginx.setup()", "1.2")
        ),
        *((kind, name) for kind in KINDS for name in ("a b", "a\n", "\na", "a\0", "--help", "-rf", ".", "a;b", "$(x)")),
    ],
)
def test_bad(kind: str, name: str) -> None:
    why_not(kind, name)


@pytest.mark.parametrize("name", ["con", "CON", "Nul", "com1", "lpt9", "null", "true", "no", "on", "all", "localhost"])
@pytest.mark.parametrize("kind", ["stack", "layer", "instance", "app", "schedule", "module"])
def test_reserved(kind: str, name: str) -> None:
    assert "is reserved" in why_not(kind, name)


@pytest.mark.parametrize(
    ("name", "character"),
    [
        ("sh\u043ep", "cyrillic small letter o"),
        ("\u0430pp", "cyrillic small letter a"),
        ("caf\u00e9", "latin small letter e with acute"),
        ("cafe\u0301", "combining acute accent"),
        ("a\u200bb", "zero width space"),
        ("a\u202eb", "right-to-left override"),
        ("a\u0661", "arabic-indic digit one"),
        ("\uff41pp", "fullwidth latin small letter a"),
        ("a\x1bb", "control character"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_look_alikes_are_named(kind: str, name: str, character: str) -> None:
    assert character in why_not(kind, name)


@given(st.sampled_from(sorted(KINDS)), st.text(max_size=70))
def test_what_is_accepted_is_plain(kind: str, name: str) -> None:
    try:
        ADAPTERS[kind].validate_python(name)
    except ValidationError:
        return
    assert name.isascii()
    assert name == unicodedata.normalize("NFKC", name)
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", name)
    assert name not in RESERVED


@given(st.sampled_from(sorted(KINDS)), st.text("abc01-_.ABCon \n", max_size=8))
def test_the_pattern_for_editors_is_the_rule(kind: str, name: str) -> None:
    pattern = ADAPTERS[kind].json_schema()["pattern"]
    try:
        ADAPTERS[kind].validate_python(name)
        accepted = True
    except ValidationError:
        accepted = False
    # Python's '$' also matches before a final newline; that of editors does not.
    in_editor = re.search(pattern.replace("$", r"\Z"), name) is not None
    assert in_editor == accepted or name.lower() in RESERVED
