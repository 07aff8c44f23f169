"""The recipe of the benchmarks: twelve operations of the common kinds, nothing that needs a network."""

from __future__ import annotations

from io import StringIO
from typing import Any

from pyinfra.operations import files, server


def setup(node: Any = None) -> None:
    """Three directories, three templates, an upload, two lines, a user, a guarded command and a check."""
    for name in ("etc", "data", "log"):
        files.directory(name=f"Directory {name}", path=f"/srv/bench/{name}", mode="755")
    for name in ("web", "worker", "cron"):
        files.template(
            name=f"Template {name}", src="templates/service.conf.j2", dest=f"/srv/bench/etc/{name}.conf", service=name
        )
    upload = files.put(name="Upload", src=StringIO("static content\n" * 200), dest="/srv/bench/data/static.txt")
    files.line(name="Line one", path="/srv/bench/etc/web.conf", line="# managed")
    files.line(name="Line two", path="/srv/bench/etc/worker.conf", line="# managed")
    server.user(name="User", user="bench", home="/srv/bench/home", shell="/bin/sh")
    server.shell(name="Guarded", commands=["echo reloaded >>/srv/bench/log/reloads"], _if=upload.did_change)
    files.file(name="Check", path="/srv/bench/etc/cron.conf", mode="644")
