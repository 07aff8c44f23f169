"""Machines on this machine: Linux namespaces, a copy-on-write root and a real sshd on a loopback address."""

from __future__ import annotations

from opsflow.providers.compute.sandbox.provider import SandboxProvider

__all__ = ["SandboxProvider"]
