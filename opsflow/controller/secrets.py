"""What must never be shown: the secret values of a stack, and of what is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsflow.controller.wording import clean_values
from opsflow.model.app import App
from opsflow.model.attributes import Attributes
from opsflow.model.secrecy import secret_values, without_secret_values
from opsflow.model.stack import Stack
from opsflow.redact import MASK, Redactor


def app_secrets(app: App) -> Iterator[str]:
    """Secure environment values, the source's password and key, the TLS key, attributes with secret names."""
    yield from (entry.value.get_secret_value() for entry in app.environment.values() if entry.secure)
    hidden = [app.source.password, app.source.ssh_key]
    if app.ssl_configuration:
        hidden.append(app.ssl_configuration.private_key)
    yield from (secret.get_secret_value() for secret in hidden if secret)
    yield from secret_values(app.attributes)


def stack_secrets(stack: Stack) -> tuple[str, ...]:
    """The secrets of all apps, and all attributes with secret names."""
    levels = [stack.attributes, *(layer.attributes for layer in stack.layers.values())]
    levels += [member.attributes for member in stack.members.values()]
    of_apps = (secret for app in stack.apps.values() for secret in app_secrets(app))
    of_attributes = (secret for level in levels for secret in secret_values(level))
    return tuple(dict.fromkeys((*of_apps, *of_attributes)))


def kept(attributes: Attributes, redact: Redactor) -> dict[str, Any]:
    """Attributes as the records may hold them: masked where they are secret by name or by value."""
    without: dict[str, Any] = clean_values(without_secret_values(attributes, MASK), redact.text)
    return without


def masked(attributes: Attributes, path: str = "") -> Iterator[str]:
    """The keys whose values :func:`kept` left out, such as ``db.password``."""
    for key, value in attributes.items():
        if isinstance(value, Mapping):
            yield from masked(value, f"{path}{key}.")
        elif MASK in str(value):
            yield f"{path}{key}"
