"""Apps: code that is deployed to the instances of some layers."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator

from opsflow.model.attributes import Attributes
from opsflow.model.base import AlsoAccepts, Misfit, Model, Shape
from opsflow.model.names import LayerName
from opsflow.model.paths import AbsolutePath
from opsflow.model.source import Source

ENVIRONMENT_BYTES = 20 * 1024
"""OpsWorks' limit for the whole environment of an app."""


def _key(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", value):
        raise ValueError(
            f"environment variable '{value}' is not allowed: use A-Z, a-z, 0-9 and '_', at most 64 characters"
        )
    return value


class EnvironmentValue(Model):
    """One environment variable; ``secure`` hides it from every output."""

    value: SecretStr
    """What the variable is set to."""
    secure: bool = False
    """Whether it is hidden from every output."""

    @field_validator("value")
    @classmethod
    def _text(cls, value: SecretStr) -> SecretStr:
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", value.get_secret_value()):
            raise ValueError("has a control character, which no environment can hold")
        return value


def _plain(value: object) -> object:
    if isinstance(value, bool) or value is None:
        raise Misfit("should be text, is empty" if value is None else "should be text", hint='quote it, such as "true"')
    if isinstance(value, int | float | str):
        return {"value": str(value)}
    return value


EnvironmentKey = Annotated[str, AfterValidator(_key), Shape(r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
EnvironmentEntry = Annotated[
    EnvironmentValue, BeforeValidator(_plain), AlsoAccepts({"type": ["string", "number"], "description": "The value."})
]
Domain = Annotated[
    str,
    Field(pattern=r"^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$", examples=["shop.example.com"]),
]


class SslConfiguration(Model):
    """Certificate and key of an app, in PEM."""

    certificate: str = Field(examples=["-----BEGIN CERTIFICATE----- ..."])
    """The certificate."""
    private_key: SecretStr
    """Its private key; hidden from every output."""
    chain: str | None = None
    """The certificates between it and the root."""

    @model_validator(mode="after")
    def _pem(self) -> Self:
        parts = {
            "certificate": self.certificate,
            "chain": self.chain,
            "private_key": self.private_key.get_secret_value(),
        }
        for name, text in parts.items():
            if text is not None and not text.lstrip().startswith("-----BEGIN "):
                raise Misfit("should be PEM", name, hint="write 'name: |' and below it -----BEGIN ...")
        return self


class DataSource(Model):
    """A database that the app uses."""

    type: Literal["RdsDbInstance", "OpsworksMysqlInstance", "AutoSelectOpsworksMysqlInstance", "None"] = "None"
    """Which kind of database."""
    arn: str | None = None
    """Which one; an RdsDbInstance needs it."""
    database_name: str | None = None
    """The database on it."""

    @model_validator(mode="after")
    def _which(self) -> Self:
        if self.type == "RdsDbInstance" and not self.arn:
            raise Misfit("an RdsDbInstance needs its arn", "type", hint="write arn: arn:aws:rds:...")
        return self


class App(Model):
    """One app (OpsWorks: App). Its name is its key under ``apps``."""

    layers: Annotated[tuple[LayerName, ...], Field(min_length=1)]
    """The layers whose instances get the app."""
    source: Source
    """Where its code comes from."""
    name: str | None = None
    """A longer name for people."""
    description: str = ""
    """What it is, for people."""
    type: Literal["other", "static", "rails", "php", "nodejs", "java", "aws-flow-ruby"] = "other"
    """What it is made with (OpsWorks: AppType); for recipes to look at."""
    environment: dict[EnvironmentKey, EnvironmentEntry] = Field(default_factory=dict)
    """Environment variables; `{value: ..., secure: true}` hides one from every output."""
    domains: tuple[Domain, ...] = ()
    """The names that it answers to."""
    enable_ssl: bool = False
    """Whether it is served over HTTPS."""
    ssl_configuration: SslConfiguration | None = None
    """Its certificate; needed with `enable_ssl`."""
    data_sources: tuple[DataSource, ...] = ()
    """The databases that it uses."""
    attributes: Attributes = Field(default_factory=dict)
    """Settings for the recipes that deploy the app (OpsWorks: DocumentRoot and so on)."""
    deploy_to: AbsolutePath | None = None
    """Directory on the instance; default /srv/www/NAME."""
    keep_releases: int = Field(default=5, ge=1, le=100)
    """Releases that stay on the instance for rollback."""

    @model_validator(mode="after")
    def _limits(self) -> Self:
        size = sum(len(key) + len(entry.value.get_secret_value().encode()) for key, entry in self.environment.items())
        if size > ENVIRONMENT_BYTES:
            raise Misfit("is too large (maximum is 20KB)", "environment")
        if self.enable_ssl and self.ssl_configuration is None:
            raise Misfit(
                "enable_ssl needs ssl_configuration", "enable_ssl", hint="write its certificate and private_key"
            )
        return self
