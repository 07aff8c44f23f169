"""App sources: git repositories, also hostile ones."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from opsflow.clock import ManualClock
from opsflow.errors import SourceError
from opsflow.model.app import App
from opsflow.model.source import Source
from opsflow.ports import Bundle
from opsflow.providers.sources import Limits, Sources

GIT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}


def git(directory: Path, *arguments: str, stdin: bytes = b"") -> str:
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(command, cwd=directory, env=GIT, input=stdin, capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit(repository: Path, files: dict[str, str], message: str = "change") -> str:
    if not repository.exists():
        repository.mkdir(parents=True)
        git(repository, "init", "-q", "-b", "main")
    for name, text in files.items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "--allow-empty", "-m", message)
    return git(repository, "rev-parse", "HEAD")


def app(location: str = "shop", **more: object) -> App:
    return App.model_validate({"layers": ("app",), "source": {"git": location, **more}})


def content(bundle: Bundle) -> dict[str, object]:
    with tarfile.open(bundle.path) as archive:
        return {
            member.name: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            if member.isfile()
            else member.linkname or None
            for member in archive.getmembers()
        }


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "cache", tmp_path, clock=ManualClock())


# ------------------------------------------------------------------------------------------------ revisions


def test_head_branches_tags_and_commits(tmp_path: Path, sources: Sources) -> None:
    repository = tmp_path / "shop"
    first = commit(repository, {"a": "1"})
    git(repository, "tag", "light")
    git(repository, "tag", "-a", "v1", "-m", "v1")
    git(repository, "branch", "feature/x+y")
    second = commit(repository, {"a": "2"})
    for revision, expected in {
        None: second,
        "HEAD": second,
        "main": second,
        "heads/main": second,
        "refs/heads/main": second,
        "v1": first,
        "light": first,
        "tags/v1": first,
        "refs/tags/v1": first,
        "feature/x+y": first,
        first: first,
        first[:9]: first,
    }.items():
        bundle = sources.fetch("shop", app(), revision)
        assert (revision, bundle.revision) == (revision, expected)
        assert content(bundle) == {"a": "1" if expected == first else "2"}
        assert sources.fetch("shop", app(revision=revision)) == bundle


def test_a_branch_that_moves_is_seen(tmp_path: Path, sources: Sources) -> None:
    commits = [commit(tmp_path / "shop", {"a": str(number)}) for number in range(2)]
    assert sources.fetch("shop", app(revision="main")).revision == commits[1]
    newer = commit(tmp_path / "shop", {"a": "3"})
    assert sources.fetch("shop", app(revision="main")).revision == newer
    git(tmp_path / "shop", "reset", "-q", "--hard", commits[0])
    assert sources.fetch("shop", app(revision="main")).revision == commits[0]


def test_a_known_commit_needs_no_repository(tmp_path: Path, sources: Sources) -> None:
    known = commit(tmp_path / "shop", {"a": "1"})
    bundle = sources.fetch("shop", app(), known)
    shutil.rmtree(tmp_path / "shop" / ".git" / "objects")
    (tmp_path / "shop" / ".git" / "objects").mkdir()
    assert sources.fetch("shop", app(), known) == bundle


def test_a_commit_on_no_branch_any_more(tmp_path: Path, sources: Sources) -> None:
    commit(tmp_path / "shop", {"a": "1"})
    orphan = commit(tmp_path / "shop", {"a": "2"})
    git(tmp_path / "shop", "reset", "-q", "--hard", "HEAD~1")
    assert content(sources.fetch("shop", app(), orphan)) == {"a": "2"}


def test_an_unknown_revision_names_close_ones(tmp_path: Path, sources: Sources) -> None:
    commit(tmp_path / "shop", {"a": "1"})
    git(tmp_path / "shop", "tag", "release-1.2")
    with pytest.raises(SourceError, match="app 'shop': the repository has no revision 'relese-1.2'") as caught:
        sources.fetch("shop", app(), "relese-1.2")
    assert "release-1.2" in (caught.value.hint or "")
    for revision in ("0" * 40, "abcd", "0123456789"):
        with pytest.raises(SourceError, match="no revision"):
            sources.fetch("shop", app(), revision)


def test_an_ambiguous_name_is_refused(tmp_path: Path, sources: Sources) -> None:
    commit(tmp_path / "shop", {"a": "1"})
    git(tmp_path / "shop", "tag", "same")
    commit(tmp_path / "shop", {"a": "2"})
    git(tmp_path / "shop", "branch", "same")
    with pytest.raises(SourceError, match="ambiguous: there are heads/same and tags/same"):
        sources.fetch("shop", app(), "same")
    assert content(sources.fetch("shop", app(), "tags/same")) == {"a": "1"}


def test_a_tag_on_something_else_than_a_commit(tmp_path: Path, sources: Sources) -> None:
    commit(tmp_path / "shop", {"a": "1"})
    git(tmp_path / "shop", "tag", "odd", git(tmp_path / "shop", "rev-parse", "HEAD:a"))
    with pytest.raises(SourceError, match="odd|no revision|not a commit"):
        sources.fetch("shop", app(), "odd")


def test_what_is_not_there(tmp_path: Path, sources: Sources) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    for location, complaint in {
        "nope": "no such directory",
        "plain": "not in a git repository",
        "empty": "no commits",
    }.items():
        with pytest.raises(SourceError, match=complaint):
            sources.fetch("shop", app(location))


# ------------------------------------------------------------------------------------------------ which part


def test_a_part_of_a_bigger_repository(tmp_path: Path, sources: Sources) -> None:
    revision = commit(tmp_path / "project", {"storefront/app.py": "x", "storefront/lib/a": "y", "other/z": "z"})
    (tmp_path / "project" / "other" / "evil").symlink_to("/etc/passwd")
    commit(tmp_path / "project", {})
    inside = Sources(tmp_path / "cache", tmp_path / "project")
    bundle = inside.fetch("shop", app("./storefront"))
    assert content(bundle) == {"app.py": "x", "lib": None, "lib/a": "y"}
    assert content(inside.fetch("shop", app("storefront", subdirectory="lib"), revision)) == {"a": "y"}
    assert content(sources.fetch("shop", app("project", subdirectory="storefront/lib"))) == {"a": "y"}
    with pytest.raises(SourceError, match="subdirectory 'nope': there is no such directory in commit"):
        sources.fetch("shop", app("project", subdirectory="nope"))
    with pytest.raises(SourceError, match="no such directory in commit"):
        sources.fetch("shop", app("project", subdirectory="storefront/app.py"))


def test_bare_repositories_and_worktrees(tmp_path: Path, sources: Sources) -> None:
    commit(tmp_path / "shop", {"a": "1"})
    git(tmp_path, "clone", "-q", "--bare", "shop", "bare.git")
    git(tmp_path / "shop", "worktree", "add", "-q", str(tmp_path / "tree"), "-b", "side")
    commit(tmp_path / "tree", {"a": "2"})
    assert content(sources.fetch("shop", app("bare.git"))) == {"a": "1"}
    assert content(sources.fetch("shop", app("tree"))) == {"a": "2"}


def test_the_same_commit_gives_the_same_bundle_as_its_files(tmp_path: Path, sources: Sources) -> None:
    commit(tmp_path / "shop", {"a": "1", "lib/b": "2"})
    (tmp_path / "shop" / "run").write_text("#!")
    (tmp_path / "shop" / "run").chmod(0o755)
    (tmp_path / "shop" / "lib" / "link").symlink_to("../a")
    commit(tmp_path / "shop", {"é\n\x01": "strange"})
    plain = App.model_validate({"layers": ("app",), "source": {"directory": "shop"}})
    assert sources.fetch("shop", app()).path == sources.fetch("shop", plain).path


def test_uncommitted_work_is_not_deployed(tmp_path: Path, sources: Sources) -> None:
    commit(tmp_path / "shop", {"a": "committed"})
    (tmp_path / "shop" / "a").write_text("dirty")
    (tmp_path / "shop" / "new").write_text("dirty")
    assert content(sources.fetch("shop", app())) == {"a": "committed"}


# ------------------------------------------------------------------------------------------------ evil addresses

EVIL_URLS = [
    "ext::sh -c touch% CANARY",
    "ext::sh%20-c%20touch%20CANARY",
    "EXT::sh -c 'touch CANARY'",
    "fd::17/foo",
    "foo::bar",
    "transport::https://example.org/x",
    "file:///srv/repo",
    "file://host/srv/repo",
    "FILE:///srv/repo",
    "http://127.0.0.1/x.git",
    "git://127.0.0.1/x.git",
    "ftp://127.0.0.1/x.git",
    "javascript:alert(1)",
    "https://",
    "https:///path",
    "https://user:hunter2hunter2@127.0.0.1/x",
    "https://hunter2hunter2@127.0.0.1/x",
    "https://127.0.0.1/",
    "https://127.0.0.1:0/x",
    "https://127.0.0.1:99999/x",
    "https://127.0.0.1:x/x",
    "https://-oProxyCommand=touch CANARY/x",
    "https://exa mple/x",
    "https://127.0.0.1/x\nfoo",
    "https://127.0.0.1/x;touch CANARY",
    "https://127.0.0.1/$(touch CANARY)",
    "https://127.0.0.1/x?a=b",
    "https://127.0.0.1/x#y",
    "https://[::1/x",
    "ssh://-oProxyCommand=touch CANARY/x",
    "ssh://-oProxyCommand=touch%20CANARY/x",
    "ssh://user@-oProxyCommand=x/x",
    "ssh://-oFoo@127.0.0.1/x",
    "ssh://user:pw@127.0.0.1/x",
    "ssh://127.0.0.1/-x",
    "ssh://127.0.0.1/x y",
    "-oProxyCommand=touch CANARY@127.0.0.1:x",
    "user@-oProxyCommand=touch:x",
    "user@127.0.0.1:-x",
    "user@127.0.0.1:x;touch CANARY",
    "user@127.0.0.1:`touch CANARY`",
    "us er@127.0.0.1:x",
    "user@ho\u0441t:x",
    "user@:x",
    "--upload-pack=touch CANARY",
    "--upload-pack=touch${IFS}CANARY",
    "-u",
    "",
    "\0",
    "a\x1b[31m",
    "shop\u202e",
]
EVIL_REFS = [
    "--upload-pack=touch CANARY",
    "-x",
    "--all",
    "@{-1}",
    "main@{1}",
    "main^{tree}",
    "main~1",
    "main:a",
    ":/change",
    "..",
    "a..b",
    "main\0",
    "main\n--x",
    "main x",
    "$(touch CANARY)",
    "`touch CANARY`",
    "main;touch CANARY",
    "x" * 300,
    "refs/heads/*",
    "main.lock",
    "\u202emain",
    "/etc/passwd",
    "../../etc",
    "",
    "+refs/heads/main:refs/heads/x",
    "^main",
]


@pytest.mark.parametrize("url", EVIL_URLS)
def test_an_evil_address_never_reaches_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    refuse_programs(tmp_path, monkeypatch)
    (tmp_path / "shop" / ".git").mkdir(parents=True)
    sources = Sources(tmp_path / "cache", tmp_path)
    # The model refuses some of them, this part all of them.
    source = Source.model_construct(git=url.replace("CANARY", str(tmp_path / "canary")))
    with pytest.raises(SourceError) as caught:
        sources.fetch("shop", App.model_construct(layers=("app",), source=source))
    assert not (tmp_path / "canary").exists()
    assert not (tmp_path / "started").exists()
    assert caught.value.message.isprintable()
    assert "hunter2" not in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("revision", EVIL_REFS)
def test_an_evil_revision_never_reaches_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    refuse_programs(tmp_path, monkeypatch)
    (tmp_path / "shop" / ".git").mkdir(parents=True)
    sources = Sources(tmp_path / "cache", tmp_path)
    with pytest.raises(SourceError):
        sources.fetch("shop", app(), revision)
    with pytest.raises(ValidationError):
        app(revision=revision)
    assert not (tmp_path / "started").exists()


def refuse_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every program that could be started in the name of git leaves a trace instead."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("git", "ssh", "sh", "curl"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/started\nexit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))


# ------------------------------------------------------------------------------------------------ evil repositories


def arm(repository: Path, canary: Path) -> None:
    """Everything in a repository that makes some git run a program."""
    trap = repository / ".git" / "trap"
    trap.write_text(f"#!/bin/sh\necho $0 >> {canary}\ncat\n")
    trap.chmod(0o755)
    for hook in (
        "post-checkout",
        "post-merge",
        "pre-auto-gc",
        "reference-transaction",
        "post-index-change",
        "update",
        "post-rewrite",
        "fsmonitor-watchman",
        "pre-upload",
        "post-update",
    ):
        shutil.copy(trap, repository / ".git" / "hooks" / hook)
    for setting in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.gitProxy",
        "core.pager",
        "core.editor",
        "core.askPass",
        "core.alternateRefsCommand",
        "uploadpack.packObjectsHook",
        "filter.evil.smudge",
        "filter.evil.clean",
        "filter.evil.process",
        "filter.lfs.smudge",
        "filter.lfs.process",
        "diff.external",
        "credential.helper",
        "gpg.program",
        "receive.procReceiveRefs",
    ):
        git(repository, "config", setting, str(trap))
    git(repository, "config", "filter.evil.required", "true")
    git(repository, "config", "core.hooksPath", str(repository / ".git" / "hooks"))
    git(repository, "config", "uploadpack.allowFilter", "true")


def test_a_repository_full_of_traps_runs_nothing(tmp_path: Path, sources: Sources) -> None:
    canary = tmp_path / "canary"
    attributes = "* filter=evil ident export-subst eol=crlf text\nhidden export-ignore\n"
    files = {"a": "$Format:%H$ $Id$\n", "hidden": "still here\n"}
    commit(tmp_path / "shop", files)
    expected = commit(tmp_path / "shop", {".gitattributes": attributes})
    arm(tmp_path / "shop", canary)
    bundle = sources.fetch("shop", app())
    assert bundle.revision == expected
    assert content(bundle) == {".gitattributes": attributes, **files}
    assert not canary.exists()


def test_a_hostile_environment_changes_nothing(
    tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = commit(tmp_path / "shop", {"a": "1"})
    commit(tmp_path / "decoy", {"a": "decoy"})
    canary, trap = tmp_path / "canary", tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\necho $0 >> {canary}\n")
    trap.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    config = f'[core]\n\tfsmonitor = {trap}\n[url "{tmp_path}/decoy"]\n\tinsteadOf = {tmp_path}/shop\n'
    (home / ".gitconfig").write_text(config)
    for name, value in {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_DIR": str(tmp_path / "decoy" / ".git"),
        "GIT_WORK_TREE": str(tmp_path / "decoy"),
        "GIT_OBJECT_DIRECTORY": str(tmp_path / "decoy" / ".git" / "objects"),
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{tmp_path}/decoy.insteadOf",
        "GIT_CONFIG_VALUE_0": str(tmp_path / "shop"),
        "GIT_CONFIG_PARAMETERS": f"'core.fsmonitor={trap}'",
        "GIT_SSH": str(trap),
        "GIT_ASKPASS": str(trap),
        "GIT_PROXY_COMMAND": str(trap),
        "GIT_EXTERNAL_DIFF": str(trap),
        "GIT_TRACE": str(tmp_path / "trace"),
        "GIT_ALLOW_PROTOCOL": "ext",
        "GIT_EXEC_PATH": str(home),
        "GIT_TEMPLATE_DIR": str(home),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path / "decoy")
    bundle = sources.fetch("shop", app())
    assert (bundle.revision, content(bundle)) == (expected, {"a": "1"})
    assert not canary.exists()
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", "sub/../../secret", ".git/../../x"])
def test_a_link_out_of_the_repository_is_refused(tmp_path: Path, sources: Sources, target: str) -> None:
    commit(tmp_path / "shop", {"sub/a": "1"})
    (tmp_path / "shop" / "link").symlink_to(target)
    commit(tmp_path / "shop", {})
    with pytest.raises(SourceError, match="'link' points outside the app"):
        sources.fetch("shop", app())


def test_submodules_and_large_files_are_refused_by_name(tmp_path: Path, sources: Sources) -> None:
    commit(tmp_path / "other", {"a": "1"})
    commit(tmp_path / "shop", {"a": "1"})
    git(tmp_path / "shop", "submodule", "add", "-q", str(tmp_path / "other"), "vendor/lib")
    commit(tmp_path / "shop", {})
    with pytest.raises(SourceError, match="'vendor/lib' is a submodule"):
        sources.fetch("shop", app())
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    commit(tmp_path / "lfs", {"movie.bin": pointer})
    with pytest.raises(SourceError, match=r"'movie\.bin' is a Git LFS pointer"):
        sources.fetch("shop", app("lfs"))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        (b"..", "leaves the app"),
        (b".git", "would accept"),
        (b".GIT", "would accept"),
        (b"n" * 300, "too long"),
        (b"/etc", "damaged|absolute|no file"),
    ],
)
def test_names_that_git_itself_would_refuse(tmp_path: Path, sources: Sources, name: bytes, complaint: str) -> None:
    commit(tmp_path / "shop", {"a": "1"})
    repository = tmp_path / "shop"
    blob = bytes.fromhex(git(repository, "hash-object", "-w", "--stdin", stdin=b"evil"))
    inner = git(repository, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=b"100644 x\0" + blob)
    outer = b"40000 " + name + b"\0" + bytes.fromhex(inner)
    tree = git(repository, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=outer)
    git(repository, "update-ref", "refs/heads/evil", git(repository, "commit-tree", tree, "-m", "evil"))
    with pytest.raises(SourceError, match=complaint):
        sources.fetch("shop", app(), "evil")
    assert not list((tmp_path / "cache" / "bundles").iterdir())


def test_a_bomb_of_trees_stops_at_the_cap(tmp_path: Path) -> None:
    commit(tmp_path / "shop", {"a": "1"})
    repository = tmp_path / "shop"
    oid, mode = bytes.fromhex(git(repository, "hash-object", "-w", "--stdin", stdin=b"x")), b"100644"
    for _ in range(9):
        entries = b"".join(mode + b" f%d\0" % number + oid for number in range(10))
        oid = bytes.fromhex(git(repository, "hash-object", "-t", "tree", "-w", "--stdin", stdin=entries))
        mode = b"40000"
    git(repository, "update-ref", "refs/heads/bomb", git(repository, "commit-tree", oid.hex(), "-m", "bomb"))
    with pytest.raises(SourceError, match="more than 1,000 files"):
        Sources(tmp_path / "cache", tmp_path, limits=Limits(files=1000)).fetch("shop", app(), "bomb")
    commit(tmp_path / "shop", {"big": "x" * 10_000})
    with pytest.raises(SourceError, match="9,000 bytes"):
        Sources(tmp_path / "cache", tmp_path, limits=Limits(bytes=9000)).fetch("shop", app(), "main")


def test_a_hanging_git_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(tmp_path / "shop", {"a": "1"})
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").write_text(f"#!/bin/sh\nsleep 100 & echo $! > {tmp_path}/pid; wait\n")
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(SourceError, match=r"git init took longer than 0\.3 s"):
        Sources(tmp_path / "cache", tmp_path, limits=Limits(seconds=0.3)).fetch("shop", app())
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_git_is_not_installed(tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(tmp_path / "shop", {"a": "1"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="git is not installed") as caught:
        sources.fetch("shop", app())
    assert "apt-get install git" in (caught.value.hint or "")


@pytest.mark.sandbox
def test_a_repository_of_somebody_else(tmp_path: Path, sources: Sources) -> None:
    expected = commit(tmp_path / "shop", {"a": "1"})
    for path in (tmp_path / "shop", *(tmp_path / "shop").rglob("*")):
        os.lchown(path, 65534, 65534)
    assert sources.fetch("shop", app()).revision == expected


@pytest.mark.sandbox
def test_a_repository_that_somebody_planted_above(tmp_path: Path, sources: Sources) -> None:
    commit(tmp_path / "shared", {"shop/a": "planted"})
    os.lchown(tmp_path / "shared" / ".git", 65534, 65534)
    with pytest.raises(SourceError, match="belongs to somebody else"):
        sources.fetch("shop", app("shared/shop"))
    assert content(sources.fetch("shop", app("shared", subdirectory="shop"))) == {"a": "planted"}


# ------------------------------------------------------------------------------------------------ the mirror


def test_what_a_killed_fetch_left_behind_does_not_matter(tmp_path: Path, sources: Sources) -> None:
    commit(tmp_path / "shop", {"a": "1"})
    sources.fetch("shop", app())
    (mirror,) = (tmp_path / "cache" / "git").glob("*.git")
    (mirror / "shallow.lock").touch()
    newer = commit(tmp_path / "shop", {"a": "2"})
    assert sources.fetch("shop", app()).revision == newer
    (mirror / "HEAD").write_text("")
    newest = commit(tmp_path / "shop", {"a": "3"})
    assert sources.fetch("shop", app()).revision == newest


def test_repositories_of_the_same_name_are_never_mixed(tmp_path: Path) -> None:
    repositories = [tmp_path / str(number) / "shop" for number in range(3)]
    for number, repository in enumerate(repositories):
        commit(repository, {"a": str(number)})
    wrong: list[str] = []

    def work(number: int) -> None:
        bundle = Sources(tmp_path / "cache", tmp_path).fetch("shop", app(f"{number}/shop"))
        if content(bundle) != {"a": str(number)}:
            wrong.append(str(bundle))

    threads = [threading.Thread(target=work, args=(number % 3,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(list((tmp_path / "cache" / "git").glob("*.git"))) == 3


# ------------------------------------------------------------------------------------------------ keys

FAKE_SSH = """#!/bin/sh
# Stands for ssh: records what it was given and runs the command here.
printf '%s\\n' "$@" > "{log}"
for word in "$@"; do case "$word" in */key) stat -c %a "$word" >> "{log}"; cat "$word" > "{log}.key";; esac; done
while [ $# -gt 1 ]; do shift; done
exec sh -c "$1"
"""


def test_a_key_is_in_a_private_file_for_one_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = commit(tmp_path / "shop", {"a": "1"})
    programs, log = tmp_path / "bin", tmp_path / "ssh.log"
    programs.mkdir()
    (programs / "ssh").write_text(FAKE_SSH.format(log=log))
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    source = app(f"git@127.0.0.1:{tmp_path}/shop", ssh_key="-----BEGIN KEY-----\nsecret canary\n-----END KEY-----")
    sources = Sources(tmp_path / "cache", tmp_path)
    assert sources.fetch("shop", source).revision == expected
    words = log.read_text()
    assert "-oBatchMode=yes" in words
    assert "-oStrictHostKeyChecking=yes" in words
    assert "-oForwardAgent=no" in words
    assert "600" in words.splitlines()
    assert "canary" not in words
    assert "secret canary" in (tmp_path / "ssh.log.key").read_text()
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and b"canary" in path.read_bytes()]
    assert left == []
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


def test_what_ssh_says_is_short_and_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text("#!/bin/sh\necho 'Permission denied for hunter2hunter2 \x1b[31m' >&2\nexit 255\n")
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    source = app("ssh://git@127.0.0.1:2222/shop.git", ssh_key="hunter2hunter2")
    with pytest.raises(SourceError, match="git ls-remote: Permission denied") as caught:
        Sources(tmp_path / "cache", tmp_path).fetch("shop", source)
    assert "hunter2" not in caught.value.message
    assert caught.value.message.isprintable()


def test_the_mirror_is_private(tmp_path: Path, sources: Sources) -> None:
    commit(tmp_path / "shop", {"a": "1"})
    sources.fetch("shop", app())
    (mirror,) = (tmp_path / "cache" / "git").glob("*.git")
    assert stat.S_IMODE(mirror.parent.stat().st_mode) == 0o700
