"""What must never be shown: the secret values of a stack."""

from __future__ import annotations

from collections.abc import Iterator

from opsflow.model.app import App
from opsflow.model.stack import Stack


def app_secrets(app: App) -> Iterator[str]:
    """Secure environment values, the source's password and key, the TLS key."""
    yield from (entry.value.get_secret_value() for entry in app.environment.values() if entry.secure)
    hidden = [app.source.password, app.source.ssh_key]
    if app.ssl_configuration:
        hidden.append(app.ssl_configuration.private_key)
    yield from (secret.get_secret_value() for secret in hidden if secret)


def stack_secrets(stack: Stack) -> tuple[str, ...]:
    """The secrets of all apps."""
    return tuple(dict.fromkeys(secret for app in stack.apps.values() for secret in app_secrets(app)))
