"""What fields mean is found where the schema is made, not when a model is defined."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from opsflow.model.base import Model
from opsflow.model.descriptions import field_descriptions
from opsflow.model.stack import Stack


class Place(Model):
    """Where something is."""

    KINDS: ClassVar[tuple[str, ...]] = ()
    """Not a field."""
    street: str
    """The street,
    with a number."""
    town: str = ""
    """The town."""
    code: int = Field(default=0, alias="postcode")
    """What letters need."""
    note: str = ""


class Office(Place):
    """A place where people work."""

    town: str = "here"
    floor: Place | None = Field(default=None, description="Said otherwise.")
    """Never shown."""


def test_the_docstring_below_a_field_describes_it() -> None:
    assert field_descriptions(Place) == {
        "street": "The street,\nwith a number.",
        "town": "The town.",
        "code": "What letters need.",
    }


def test_an_inherited_field_keeps_its_words_unless_it_is_declared_anew() -> None:
    assert field_descriptions(Office).keys() == {"street", "code", "floor"}


def test_the_schema_has_them() -> None:
    schema = Office.model_json_schema()
    described = {name: field.get("description") for name, field in schema["properties"].items()}
    assert described == {
        "street": "The street,\nwith a number.",
        "town": None,
        "postcode": "What letters need.",
        "note": None,
        "floor": "Said otherwise.",
    }
    assert schema["$defs"]["Place"]["properties"]["town"]["description"] == "The town."


def test_defining_a_model_reads_no_source() -> None:
    assert Stack.model_fields["layers"].description is None
    assert field_descriptions(Stack)["layers"]
