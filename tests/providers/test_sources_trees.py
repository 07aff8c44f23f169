"""App sources: bundles are deterministic; directories; the cache."""

from __future__ import annotations

import os
import socket
import stat
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsflow.clock import ManualClock
from opsflow.errors import SourceError
from opsflow.model.app import App
from opsflow.ports import AppSources, Bundle
from opsflow.providers.sources import Limits, Sources


def app(**source: object) -> App:
    return App.model_validate({"layers": ("app",), "source": source})


def content(bundle: Bundle) -> dict[str, object]:
    with tarfile.open(bundle.path) as archive:
        return {
            member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
            if member.isfile()
            else (member.linkname if member.issym() else None)
            for member in archive.getmembers()
        }


def plant(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "cache", tmp_path, clock=ManualClock())


def refused(sources: Sources, **source: object) -> SourceError:
    with pytest.raises(SourceError) as caught:
        sources.fetch("web", app(**source))
    assert caught.value.message.startswith("app 'web': ")
    return caught.value


def test_it_implements_the_port(sources: Sources) -> None:
    port: AppSources = sources
    assert port is sources


def test_a_directory_becomes_a_normalised_bundle(tmp_path: Path, sources: Sources) -> None:
    root = plant(tmp_path / "app", {"run.sh": b"#!", "lib/a.py": b"a", "é.txt": b"", "x" * 200 + "/y": b"long"})
    (root / "run.sh").chmod(0o4775)
    (root / "lib" / "a.py").chmod(0o600)
    (root / "empty").mkdir()
    (root / "lib" / "link").symlink_to("../run.sh")
    bundle = sources.fetch("web", app(directory="app"))
    assert bundle.path.name == f"{bundle.revision}.tar.gz"
    with tarfile.open(bundle.path) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {member.name: member.mode for member in members} == {
        "empty": 0o755,
        "lib": 0o755,
        "lib/a.py": 0o644,
        "lib/link": 0o644,
        "run.sh": 0o755,
        "x" * 200: 0o755,
        "x" * 200 + "/y": 0o644,
        "é.txt": 0o644,
    }
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert content(bundle)["lib/link"] == "../run.sh"


def test_history_caches_and_state_are_left_out(tmp_path: Path, sources: Sources) -> None:
    hidden = {".git/config": b"", "lib/__pycache__/a.pyc": b"", ".opsflow/keys/id": b"secret", "a/.git": b"gitdir: x"}
    plant(tmp_path / "app", {"a.py": b"", ".env": b"kept", **hidden})
    assert set(content(sources.fetch("web", app(directory="app")))) == {"a", "a.py", ".env", "lib"}


def test_times_owners_and_order_do_not_matter(tmp_path: Path, sources: Sources) -> None:
    one = plant(tmp_path / "one", {"a": b"1", "b/c": b"2"})
    two = plant(tmp_path / "two", {"b/c": b"2", "a": b"1"})
    os.utime(one / "a", (1, 1))
    (two / "a").chmod(0o640)
    first, second = (sources.fetch("web", app(directory=str(path))) for path in (one, two))
    assert first == second
    before = first.path.read_bytes()
    (two / "a").chmod(0o740)
    assert sources.fetch("web", app(directory="two")).revision != first.revision
    other = Sources(tmp_path / "other cache", tmp_path)
    again = other.fetch("another name", app(directory="one"))
    assert (again.revision, again.path.read_bytes()) == (first.revision, before)


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..", ".git", "__pycache__", ".opsflow") and len(name.encode()) < 200
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=50), min_size=1, max_size=8).filter(
    lambda tree: not any(other.startswith(name + "/") for name in tree for other in tree)
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees, seed=st.randoms(use_true_random=False))
def test_the_same_tree_gives_the_same_bytes(tmp_path_factory: pytest.TempPathFactory, tree: dict, seed: object) -> None:
    work = tmp_path_factory.mktemp("tree")
    shuffled = list(tree.items())
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    plant(work / "one", tree)
    plant(work / "two", dict(shuffled))
    sources = Sources(work / "cache", work)
    one, two = (sources.fetch("web", app(directory=name)) for name in ("one", "two"))
    assert one == two
    files = {name: data for name, data in content(one).items() if data is not None}
    assert files == tree
    first = min(tree)
    plant(work / "two", {first: tree[first] + b"!"})
    assert sources.fetch("web", app(directory="two")).revision != one.revision


# ------------------------------------------------------------------------------------------------ links


@pytest.mark.parametrize(
    "target",
    ["../outside", "/etc/passwd", "sub/../../outside", "self/../../outside", "loop", "..", "sub/up/../../x"],
)
def test_a_link_out_of_the_directory_is_refused(tmp_path: Path, sources: Sources, target: str) -> None:
    root = plant(tmp_path / "app", {"sub/file": b""})
    (tmp_path / "outside").write_text("secret")
    (root / "self").symlink_to(".")
    (root / "sub" / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    if target != "loop":
        (root / "loop").unlink()
        (root / "link").symlink_to(target)
    assert "points outside the app" in refused(sources, directory="app").message


@pytest.mark.parametrize("target", ["sub/file", "./sub", "sub/../a", "self/self/a", "missing/yet", "sub/up/a"])
def test_a_link_that_stays_inside_is_kept(tmp_path: Path, sources: Sources, target: str) -> None:
    root = plant(tmp_path / "app", {"sub/file": b"", "a": b""})
    (root / "self").symlink_to(".")
    (root / "sub" / "up").symlink_to("..")
    (root / "link").symlink_to(target)
    assert content(sources.fetch("web", app(directory="app")))["link"] == target


def test_what_is_neither_file_nor_directory_is_refused(tmp_path: Path, sources: Sources) -> None:
    root = plant(tmp_path / "app", {"a": b""})
    os.mkfifo(root / "pipe")
    assert "'pipe' is neither a file nor a directory" in refused(sources, directory="app").message
    (root / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "s"))
        assert "'s' is neither" in refused(sources, directory="app").message


def test_errors_say_what_is_wrong(tmp_path: Path, sources: Sources) -> None:
    plant(tmp_path / "app", {"sub/a": b""})
    plant(tmp_path, {"file": b""})
    (tmp_path / "empty").mkdir()
    assert "there is no directory" in refused(sources, directory="nope").message
    assert "there is no directory" in refused(sources, directory="file").message
    assert "there is no file in it" in refused(sources, directory="empty").message
    assert "no such directory" in refused(sources, directory="app", subdirectory="nope").message
    (tmp_path / "app" / "out").symlink_to("../empty")
    assert "outside" in refused(sources, directory="app", subdirectory="out").message
    assert "not available" in refused(sources, s3="s3://bucket/key").message


def test_a_subdirectory(tmp_path: Path, sources: Sources) -> None:
    plant(tmp_path / "app", {"web/a": b"1", "web/b/c": b"2", "other": b"3"})
    assert set(content(sources.fetch("web", app(directory="app", subdirectory="web")))) == {"a", "b", "b/c"}
    assert set(content(sources.fetch("web", app(directory="app", subdirectory="./web/b/")))) == {"c"}


def test_a_directory_that_is_too_large(tmp_path: Path) -> None:
    plant(tmp_path / "app", {f"f{number}": b"x" * 100 for number in range(20)})
    assert "20" not in refused(Sources(tmp_path / "c", tmp_path, limits=Limits(files=19)), directory="app").message[:20]
    assert (
        "larger than" in refused(Sources(tmp_path / "c", tmp_path, limits=Limits(bytes=1999)), directory="app").message
    )
    Sources(tmp_path / "c", tmp_path, limits=Limits(files=20, bytes=2000)).fetch("web", app(directory="app"))


def test_a_revision_of_what_has_none(tmp_path: Path, sources: Sources) -> None:
    plant(tmp_path / "app", {"a": b""})
    known = sources.fetch("web", app(directory="app"))
    assert sources.fetch("web", app(directory="app"), known.revision) == known
    with pytest.raises(SourceError, match="has no revision 'v2'"):
        sources.fetch("web", app(directory="app"), "v2")


# ------------------------------------------------------------------------------------------------ the cache


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_cache_is_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    plant(tmp_path / "app", {"a": b""})
    before = os.umask(umask)
    try:
        bundle = Sources(tmp_path / "cache", tmp_path).fetch("web", app(directory="app"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(bundle.path.stat().st_mode) == 0o600
    directories = [path for path in (tmp_path / "cache").rglob("*") if path.is_dir()] + [tmp_path / "cache"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}


def test_a_damaged_bundle_is_made_anew(tmp_path: Path, sources: Sources) -> None:
    plant(tmp_path / "app", {"a": b"content"})
    bundle = sources.fetch("web", app(directory="app"))
    good = bundle.path.read_bytes()
    bundle.path.write_bytes(good[:-9] + b"x" * 9)
    assert sources.fetch("web", app(directory="app")).path.read_bytes() == good


def test_old_bundles_and_leftovers_are_removed(tmp_path: Path) -> None:
    clock = ManualClock()
    sources = Sources(tmp_path / "cache", tmp_path, clock=clock)
    for number in range(30):
        plant(tmp_path / "app", {"a": b"%d" % number})
        sources.fetch("web", app(directory="app"))
        clock.advance(3600)
    bundles = tmp_path / "cache" / "bundles"
    assert len(list(bundles.iterdir())) == 30
    left = tmp_path / "cache" / "tmp" / "leftover"
    left.mkdir()
    (left / "key").write_text("secret")
    os.utime(left, (clock.now().timestamp(),) * 2)
    clock.advance(8 * 86400)
    newest = sources.fetch("web", app(directory="app"))
    assert len(list(bundles.iterdir())) == 20
    assert newest.path.exists()
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


def test_many_threads_fetch_at_once(tmp_path: Path, sources: Sources) -> None:
    for number in range(4):
        plant(tmp_path / f"app{number}", {"a": b"%d" % number, "b": b"x" * 10000})
    found: dict[int, set[bytes]] = {number: set() for number in range(4)}

    def work(number: int) -> None:
        for _ in range(5):
            bundle = sources.fetch("web", app(directory=f"app{number}"))
            found[number].add(content(bundle)["a"])  # type: ignore[arg-type]

    threads = [threading.Thread(target=work, args=(number % 4,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: {b"%d" % number} for number in range(4)}
