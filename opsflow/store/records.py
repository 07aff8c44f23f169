"""Models as stored records: JSON text for what is searched, compressed and checksummed JSON for what is big."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from opsflow.errors import StoreError
from opsflow.model.base import Model
from opsflow.model.secrecy import without_secret_values
from opsflow.model.snapshot import NodeSnapshot
from opsflow.ports import Changes
from opsflow.redact import MASK, Redactor

M = TypeVar("M", bound=Model)

DAMAGED_HINT = "run `opsflow doctor` for a full check, and restore the store from a backup"


def encode(model: Model, what: str) -> str:
    """The model as JSON text.

    Raises:
        StoreError: it holds something that JSON cannot express; ``what`` names it.
    """
    try:
        return model.model_dump_json()
    except (PydanticSerializationError, UnicodeError, ValueError) as error:
        raise StoreError(f"{what} cannot be stored: {error}") from error


def decode(kind: type[M], text: str | bytes, what: str) -> M:
    """The model of that JSON text.

    Raises:
        StoreError: the text is damaged; ``what`` names the record.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise damaged(what, f"it is not readable as {kind.__name__}") from error


def pack(model: Model, what: str) -> tuple[bytes, str]:
    """The model as compressed JSON, and the checksum of those bytes."""
    body = zlib.compress(encode(model, what).encode(), level=6)
    return body, hashlib.sha256(body).hexdigest()


def unpack(kind: type[M], body: bytes, checksum: str, what: str) -> M:
    """The model that :func:`pack` packed.

    Raises:
        StoreError: the bytes or the checksum have changed since.
    """
    if hashlib.sha256(body).hexdigest() != checksum:
        raise damaged(what, "its checksum does not match")
    try:
        text = zlib.decompress(body)
    except zlib.error as error:
        raise damaged(what, "it cannot be unpacked") from error
    return decode(kind, text, what)


def damaged(what: str, why: str) -> StoreError:
    """The error for a record that is not what was written."""
    return StoreError(f"{what} is damaged in the store: {why}", hint=DAMAGED_HINT)


def without_secrets(snapshot: NodeSnapshot) -> NodeSnapshot:
    """What recipes saw, with every secret masked: a store is no place for them. Names and addresses stay."""
    redact = Redactor(snapshot.secrets)
    members = [member.model_copy(update={"data": masked(member.data, redact)}) for member in snapshot.members]
    return without_own_secrets(snapshot).model_copy(update={"members": tuple(members)})


def without_own_secrets(snapshot: NodeSnapshot) -> NodeSnapshot:
    """The same without the members."""
    redact = Redactor(snapshot.secrets)
    kept = snapshot.model_dump(mode="json", exclude={"members"}) | {"secrets": (), "members": ()}
    kept["attributes"] = masked(kept["attributes"], redact)
    kept["event"]["reason"] = redact.text(kept["event"]["reason"])
    for app in kept["apps"]:
        app["attributes"] = masked(app["attributes"], redact)
        secure = {key: MASK for key in app["secure"] if key in app["environment"]}
        app["environment"] = {key: redact.text(value) for key, value in app["environment"].items()} | secure
    return NodeSnapshot.model_validate(kept)


def masked(data: Any, redact: Redactor) -> Any:
    """JSON-like data without what is secret, by name or by value."""
    return _redacted(without_secret_values(data, MASK), redact)


def _redacted(value: Any, redact: Redactor) -> Any:
    if isinstance(value, str):
        return redact.text(value)
    if isinstance(value, Mapping):
        return {key: _redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item, redact) for item in value]
    return value


def touched(changes: Changes) -> tuple[str, ...]:
    """The stacks whose version these changes bump, in order of their first mention."""
    named = (
        *(entry.stack for entry in changes.entries),
        *(state.stack for state in changes.instances),
        *(stack for stack, _ in changes.removed),
        *(run.stack for run in changes.runs),
        *(command.stack for command in changes.commands),
    )
    return tuple(dict.fromkeys(named))


def require_entries(changes: Changes) -> None:
    """Refuse a change that would leave no trace.

    Raises:
        StoreError: there is no journal entry among the changes.
    """
    if not changes.entries:
        raise StoreError("a change without a journal entry is not stored: every change says what happened")
