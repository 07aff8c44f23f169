"""App sources over https: archives and git repositories from a server on this machine."""

from __future__ import annotations

import base64
import datetime
import gzip
import hashlib
import io
import ipaddress
import os
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from opsflow.clock import ManualClock
from opsflow.errors import SourceError
from opsflow.model.app import App
from opsflow.model.source import Source
from opsflow.providers.sources import Limits, Sources

PASSWORD = "hunter2 canary/é"
AUTHORIZED = "Basic " + base64.b64encode(f"deploy:{PASSWORD}".encode()).decode()
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """An https server whose answers a test gives by path."""

    http: ThreadingHTTPServer
    certificate: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    seen_processes: list[str] = field(default_factory=list)

    def url(self, path: str, scheme: str = "https") -> str:
        return f"{scheme}://127.0.0.1:{self.http.server_port}{path}"

    def serve(self, path: str, data: bytes) -> None:
        self.answers[path] = lambda request: reply(request, 200, data)


def reply(request: BaseHTTPRequestHandler, status: int, data: bytes = b"", **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


def certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "opsflow test")])
    now = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "cert.pem").write_bytes(made.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "key.pem").write_bytes(secret)
    return directory / "cert.pem", directory / "key.pem"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    certificate_file, key_file = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate_file))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            server.requests.append((path, self.headers["Authorization"]))
            server.answers.get(path, lambda request: reply(request, 404))(self)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is no event here
    server = Server(http, certificate_file)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "cache", tmp_path, clock=ManualClock())


def tar(name: str = "a", data: bytes = b"1") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        header = tarfile.TarInfo(name)
        header.size = len(data)
        archive.addfile(header, io.BytesIO(data))
    return out.getvalue()


DATA = tar()
DIGEST = hashlib.sha256(DATA).hexdigest()


def app(url: str, sha256: str = DIGEST, **more: object) -> App:
    return App.model_validate({"layers": ("app",), "source": {"archive": url, "sha256": sha256, **more}})


def refusal(sources: Sources, app: App) -> str:
    with pytest.raises(SourceError) as caught:
        sources.fetch("web", app)
    assert PASSWORD not in caught.value.message
    return caught.value.message


def test_an_archive_is_fetched_and_verified(server: Server, sources: Sources) -> None:
    server.serve("/app.tar.gz", DATA)
    bundle = sources.fetch("web", app(server.url("/app.tar.gz?token=abc")))
    with tarfile.open(bundle.path) as archive:
        assert archive.getnames() == ["a"]
    assert server.requests == [("/app.tar.gz", None)]
    wrong = refusal(sources, app(server.url("/app.tar.gz"), "0" * 64))
    assert "checksum does not match" in wrong
    assert DIGEST in wrong


def test_what_is_not_https_or_not_trusted_is_refused(
    server: Server, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("/app.tar.gz", DATA)
    evil = ("https:///x", "https://a:b@127.0.0.1/x", "https://127.0.0.1:x/", "https://127.0.0.1/a b", "https://[::1/")
    for url in (*evil, *(server.url("/app.tar.gz", scheme) for scheme in ("http", "ftp", "file", "HTTP", "data"))):
        # The model refuses some of them, this part all of them.
        source = Source.model_construct(archive=url, sha256=DIGEST)
        with pytest.raises(SourceError, match="URL"):
            sources.fetch("web", App.model_construct(layers=("app",), source=source))
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    assert "cannot be fetched" in refusal(sources, app(server.url("/app.tar.gz")))
    assert server.requests == []


def test_credentials_are_sent_to_the_first_host_only(server: Server, sources: Sources) -> None:
    server.answers["/app.tar.gz"] = lambda request: reply(request, 302, Location=server.url("/elsewhere?sig=secret"))
    server.serve("/elsewhere", DATA)
    sources.fetch("web", app(server.url("/app.tar.gz"), username="deploy", password=PASSWORD))
    assert server.requests == [("/app.tar.gz", AUTHORIZED), ("/elsewhere", None)]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://127.0.0.1:1/x", " redirects to 'http://127.0.0.1:1/x', which is not https"),
        ("ftp://127.0.0.1/x", " redirects to 'ftp://127.0.0.1/x', which is not https"),
        (
            "file:///etc/passwd",
            ": the server answered 302 Found - Redirection to url 'file:///etc/passwd' is not allowed",
        ),
        ("data:,x", ": the server answered 302 Found - Redirection to url 'data:,x' is not allowed"),
    ],
)
def test_a_redirect_to_something_else_is_not_followed(server: Server, sources: Sources, target: str, said: str) -> None:
    server.answers["/app.tar.gz"] = lambda request: reply(request, 302, Location=target)
    message = refusal(sources, app(server.url("/app.tar.gz")))
    assert message == f"app 'web': '{server.url('/app.tar.gz')}'{said}"
    assert len(server.requests) == 1


def test_a_redirect_in_a_circle_ends(server: Server, sources: Sources) -> None:
    server.answers["/app.tar.gz"] = lambda request: reply(request, 302, Location=server.url("/app.tar.gz"))
    assert "302" in refusal(sources, app(server.url("/app.tar.gz")))
    assert len(server.requests) < 10


def test_errors_of_the_server_are_said_without_the_query(server: Server, sources: Sources) -> None:
    message = refusal(sources, app(server.url("/nope?X-Signature=secret")))
    assert "the server answered 404 Not Found" in message
    assert "secret" not in message
    server.http.shutdown()
    server.http.server_close()
    assert "cannot be fetched" in refusal(sources, app(server.url("/app.tar.gz")))


def test_an_answer_without_end_stops_at_the_cap(server: Server, tmp_path: Path) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b"x" * 65536)

    server.answers["/app.tar.gz"] = endless
    sources = Sources(tmp_path / "cache", tmp_path, limits=Limits(archive=1_000_000))
    assert "archive is larger than 1,000,000 bytes" in refusal(sources, app(server.url("/app.tar.gz")))


def test_a_slow_answer_ends_at_the_deadline(server: Server, tmp_path: Path) -> None:
    clock = ManualClock()

    def slow(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            clock.advance(40)
            request.wfile.write(b"x" * 65536)

    server.answers["/app.tar.gz"] = slow
    assert "took longer than 300 s" in refusal(
        Sources(tmp_path / "cache", tmp_path, clock=clock), app(server.url("/app.tar.gz"))
    )


def test_an_answer_that_is_cut_off(server: Server, sources: Sources) -> None:
    def cut(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(DATA)))
        request.end_headers()
        request.wfile.write(DATA[:50])

    server.answers["/app.tar.gz"] = cut
    message = refusal(sources, app(server.url("/app.tar.gz")))
    assert "checksum does not match" in message


# ------------------------------------------------------------------------------------------------ git


def serve_git(server: Server, repository: Path) -> None:
    """A git server in a few lines: real upload-pack behind https, with a password."""

    def pack(request: BaseHTTPRequestHandler, *options: str, prefix: bytes = b"") -> None:
        if request.headers["Authorization"] != AUTHORIZED:
            reply(request, 401, WWW_Authenticate='Basic realm="git"')
            return
        server.seen_processes += processes()
        body = request.rfile.read(int(request.headers["Content-Length"] or 0))
        if request.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        environment = {**os.environ, "GIT_PROTOCOL": request.headers["Git-Protocol"] or ""}
        command = ["git", "upload-pack", "--stateless-rpc", *options, str(repository)]
        done = subprocess.run(command, input=body, env=environment, capture_output=True, check=True)
        kind = "advertisement" if options else "result"
        reply(request, 200, prefix + done.stdout, Content_Type=f"application/x-git-upload-pack-{kind}")

    advertised = b"001e# service=git-upload-pack\n0000"
    server.answers["/shop.git/info/refs"] = lambda request: pack(request, "--advertise-refs", prefix=advertised)
    server.answers["/shop.git/git-upload-pack"] = lambda request: pack(request)


def processes() -> list[str]:
    """Command lines and environments of everything that runs here."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            found.append((path / "cmdline").read_bytes().decode(errors="replace"))
            found.append((path / "environ").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "origin"
    root.mkdir()
    (root / "a").write_text("1")
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (["init", "-q", "-b", "main"], ["add", "a"], [*author, "commit", "-q", "-m", "1"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    return root


def git_app(url: str, **more: object) -> App:
    return App.model_validate({"layers": ("app",), "source": {"git": url, **more}})


def test_a_password_reaches_the_git_server_and_nothing_else(
    server: Server, sources: Sources, repository: Path, tmp_path: Path
) -> None:
    serve_git(server, repository)
    source = git_app(server.url("/shop.git"), username="deploy", password=PASSWORD)
    bundle = sources.fetch("shop", source)
    with tarfile.open(bundle.path) as archive:
        assert archive.getnames() == ["a"]
    assert any("upload-pack" in text or "remote-https" in text for text in server.seen_processes)
    forms = (PASSWORD, "hunter2", "canary")
    assert not [text for text in server.seen_processes if "git" in text and any(form in text for form in forms)]
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert kept == []


def test_a_wrong_password_is_said_without_it(server: Server, sources: Sources, repository: Path) -> None:
    serve_git(server, repository)
    wrong = git_app(server.url("/shop.git"), username="deploy", password="wrong-" + PASSWORD)
    assert "git ls-remote" in refusal(sources, wrong)
    assert "git ls-remote" in refusal(sources, git_app(server.url("/shop.git")))


def test_git_is_not_redirected_to_another_protocol(server: Server, sources: Sources, repository: Path) -> None:
    for target in (server.url("/x.git", "http"), f"file://{repository}", f"ext::sh -c touch% {repository}/canary"):
        server.answers["/shop.git/info/refs"] = lambda request, target=target: reply(request, 302, Location=target)
        assert "git ls-remote" in refusal(sources, git_app(server.url("/shop.git")))
    assert not (repository / "canary").exists()
