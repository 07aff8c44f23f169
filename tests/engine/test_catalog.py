from __future__ import annotations

from pathlib import Path

import pytest

from opsflow.engine.catalog import LARGEST, AstCatalog
from opsflow.errors import RecipeError


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        file = root / name.replace("__", "/").replace("_py", ".py").replace("INIT", "__init__").replace("_j2", ".j2")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def digest(root: Path, *recipes: str) -> str:
    return AstCatalog([root]).digest(recipes)


def test_functions_with_their_lines_and_docs(tmp_path: Path) -> None:
    write(
        tmp_path,
        web_py='"""Web."""\n\ndef setup(node):\n    "Set up."\n\ndef _help(): ...\n\nclass X: ...\nvalue = 1\n',
    )
    source = AstCatalog([tmp_path]).modules()["web"]["setup"]
    assert (source.name, source.file, source.line, source.doc) == ("web.setup", tmp_path / "web.py", 3, "Set up.")
    assert list(AstCatalog([tmp_path]).modules()["web"]) == ["setup"]


def test_a_function_under_a_second_name_is_one_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        base_py="def setup(node): ...\ndef _hidden(node): ...\n",
        web_py="from base import setup\nfrom pyinfra.operations import files\n"
        "def install(node):\n    'In.'\nconfigure = install\nsize = 3\nshutdown = deploy = configure\n",
        pkg__INIT_py="from .part import deploy as configure, other\n",
        pkg__part_py="import base\ndef _deploy(node): ...\ndeploy = _deploy\nloop = loop\n",
    )
    modules = AstCatalog([tmp_path]).modules()
    assert sorted(modules["web"]) == ["configure", "deploy", "install", "setup", "shutdown"]
    assert list(modules["pkg"]) == ["configure"]
    assert list(modules["pkg.part"]) == ["deploy"]
    source = modules["web"]["shutdown"]
    assert (source.name, source.line, source.doc) == ("web.shutdown", 3, "In.")
    assert modules["web"]["setup"].file == tmp_path / "base.py"


def test_nothing_is_run(tmp_path: Path) -> None:
    write(tmp_path, web_py=f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit\ndef setup(node): ...\n")
    assert "setup" in AstCatalog([tmp_path]).modules()["web"]
    assert not (tmp_path / "ran").exists()


def test_packages_and_what_is_no_module(tmp_path: Path) -> None:
    write(tmp_path, db__INIT_py="def setup(node): ...", db__backup_py="def configure(node): ...")
    (tmp_path / "not-a-module.py").write_text("def x(node): ...")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.py").write_text("syntax error here")
    assert sorted(AstCatalog([tmp_path]).modules()) == ["db", "db.backup"]


def test_an_earlier_path_wins(tmp_path: Path) -> None:
    first, second = (
        write(tmp_path / "a", web_py="def one(node): ..."),
        write(tmp_path / "b", web_py="def two(node): ..."),
    )
    assert list(AstCatalog([first, second]).modules()["web"]) == ["one"]


def test_every_module_that_cannot_be_parsed_is_named(tmp_path: Path) -> None:
    write(tmp_path, a_py="def f(:\n", b_py="x = (\n", c_py="def ok(node): ...")
    (tmp_path / "d.py").write_bytes(b"x = '\xff'\n")
    (tmp_path / "e.py").write_bytes(b"x = 1\0\n")
    (tmp_path / "f.py").write_text("x = " + "(" * 5000)
    with pytest.raises(RecipeError) as caught:
        AstCatalog([tmp_path]).check()
    assert {Path(problem.file).name for problem in caught.value.problems} == {"a.py", "b.py", "d.py", "e.py", "f.py"}
    first = caught.value.problems[0]
    assert (first.line, first.snippet) == (1, "def f(:")


def test_a_module_that_cannot_be_parsed_disturbs_only_those_who_look_it_up(tmp_path: Path) -> None:
    write(tmp_path, good_py="def setup(node): ...", bad_py="def f(:\n")
    catalog = AstCatalog([tmp_path])
    modules = catalog.modules()
    assert list(modules) == ["good"]
    assert list(modules["good"]) == ["setup"]
    assert "other" not in modules
    assert catalog.digest(["good.setup"])
    for look in (lambda: modules["bad"], lambda: "bad" in modules, lambda: modules.get("bad", ())):
        with pytest.raises(RecipeError, match=r"bad\.py:1:"):
            look()


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, big_py="#" * (LARGEST + 1))
    with pytest.raises(RecipeError, match="bytes"):
        AstCatalog([tmp_path]).check()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such recipe directory"):
        AstCatalog([tmp_path / "recipes"]).modules()


class TestDigest:
    def test_is_stable_and_of_content(self, tmp_path: Path) -> None:
        one = write(tmp_path / "a", web_py="def setup(node): ...", web__x_j2="1")
        two = write(tmp_path / "b", web_py="def setup(node): ...", web__x_j2="1")
        assert digest(one, "web.setup") == digest(two, "web.setup") == digest(one, "web.setup", "web.setup")

    @pytest.mark.parametrize(
        "statement",
        [
            "import helper",
            "import helper as h",
            "from helper import thing",
            "from lib import helper",
            "import lib.helper",
            "from lib.helper import thing",
            "def setup(node):\n    import helper",
        ],
    )
    def test_changes_with_an_imported_helper(self, tmp_path: Path, statement: str) -> None:
        write(tmp_path, web_py=f"{statement}\ndef setup(node): ...", other_py="x = 1")
        write(tmp_path, helper_py="thing = 1", lib__INIT_py="", lib__helper_py="thing = 1")
        before = digest(tmp_path, "web.setup")
        write(tmp_path, other_py="x = 2")
        assert digest(tmp_path, "web.setup") == before, "an unrelated module"
        write(tmp_path, helper_py="thing = 2", lib__helper_py="thing = 2")
        assert digest(tmp_path, "web.setup") != before

    def test_changes_with_the_package_of_a_helper(self, tmp_path: Path) -> None:
        write(tmp_path, web_py="import lib.helper\ndef setup(node): ...", lib__INIT_py="", lib__helper_py="")
        before = digest(tmp_path, "web.setup")
        write(tmp_path, lib__INIT_py="x = 1")
        assert digest(tmp_path, "web.setup") != before

    @pytest.mark.parametrize("statement", ["from . import helper", "from .helper import x", "from .sub import deep"])
    def test_follows_relative_imports(self, tmp_path: Path, statement: str) -> None:
        write(tmp_path, db__INIT_py=f"{statement}\ndef setup(node): ...", db__helper_py="x = 1")
        write(tmp_path, db__sub__INIT_py="", db__sub__deep_py="from .. import helper")
        before = digest(tmp_path, "db.setup")
        write(tmp_path, db__helper_py="x = 2")
        assert digest(tmp_path, "db.setup") != before

    def test_changes_with_a_template_or_file(self, tmp_path: Path) -> None:
        write(tmp_path, web_py="def setup(node): ...", web__site_j2="1")
        seen = [digest(tmp_path, "web.setup")]
        write(tmp_path, web__site_j2="2")
        seen.append(digest(tmp_path, "web.setup"))
        (tmp_path / "web" / "site.j2").rename(tmp_path / "site.j2")
        seen.append(digest(tmp_path, "web.setup"))
        (tmp_path / "key.bin").write_bytes(b"\0")
        seen.append(digest(tmp_path, "web.setup"))
        assert len(set(seen)) == 4

    @pytest.mark.parametrize(
        "name",
        ["site.j2~", ".site.j2.swp", "site.j2.swp", "site.j2.bak", ".#site.j2", "#site.j2#", "README", "README.md",
         "web/notes.md", ".DS_Store", "web.pyc"],
    )  # fmt: skip
    def test_does_not_change_with_what_editors_leave_and_people_read(self, tmp_path: Path, name: str) -> None:
        write(tmp_path, web_py="def setup(node): ...", web__site_j2="1")
        before = digest(tmp_path, "web.setup")
        (tmp_path / name).write_text("x")
        assert digest(tmp_path, "web.setup") == before
