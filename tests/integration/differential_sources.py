"""Files beside the recipes of the differential suite, and what its hosts need to install from."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TEXTS = {
    "plain.txt": "plain text\n",
    "empty.txt": "",
    "noeol.txt": "no end of line",
    "crlf.txt": "one\r\ntwo\r\n",
    "site.conf.j2": "{% for port in ports %}\nlisten {{ port }};\n{% endfor %}\n# {{ 'ü' }} {{ host.name }}\n",
    "tree/a.txt": "a\n",
    "tree/sub/b.txt": "b\n",
    "tree/sub/deep/c.txt": "c\n",
    'tree/odd names/it\'s "ü".txt': "odd\n",
    "plain.sh": "#!/bin/sh\necho script >/srv/diff/script\n",
    "args.sh": '#!/bin/sh\necho $# "$1" "$2" >/srv/diff/args\n',
    "templated.sh.j2": "#!/bin/sh\necho {{ word }} >/srv/diff/templated\n",
    "failing.sh": "#!/bin/sh\necho begun >/srv/diff/begun\nexit 7\n",
    "dump.sql": "SELECT 1;\n",
    "requirements.txt": "diffwheel==1.0\n",
    "id.pub": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDiffDiffDiffDiffDiffDiffDiffDiffDiffDiffDiff from-file\n",
}


def write_sources(directory: Path) -> None:
    """Write all of them."""
    for name, text in TEXTS.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    (directory / "binary.bin").write_bytes(bytes(range(256)) * 40)
    (directory / "large.bin").write_bytes(b"0123456789abcdef" * 80_000)
    _archive(directory / "archive.tar.gz")
    _key(directory)
    _wheel(directory / "diffwheel-1.0-py3-none-any.whl", "1.0")
    _wheel(directory / "diffwheel-2.0-py3-none-any.whl", "2.0")


def _key(directory: Path) -> None:
    """A new public key."""
    with tempfile.TemporaryDirectory(prefix="gpg") as home:
        gpg = ["gpg", "--batch", "--quiet", "--homedir", home]
        uid = "Differential <differential@example.org>"
        subprocess.run([*gpg, "--passphrase", "", "--quick-gen-key", uid, "ed25519", "sign", "0"], check=True)
        key = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
    (directory / "key.asc").write_bytes(key)


def _archive(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (("inside/one.txt", b"1\n"), ("inside/deep/two.txt", b"2\n")):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1_000_000_000, 0o640
            archive.addfile(info, io.BytesIO(data))


def _wheel(path: Path, version: str) -> None:
    """A Python package with one module, so that pip has something to install without a network."""
    info = f"diffwheel-{version}.dist-info"
    files = {
        "diffwheel.py": f"VERSION = '{version}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: diffwheel\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)


class WebServer:
    """Serves a directory to the hosts, which share this machine's loopback interface."""

    def __init__(self, directory: Path) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(directory)))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
