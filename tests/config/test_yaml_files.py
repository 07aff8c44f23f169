"""Files that are no YAML, or not the YAML that they seem to be."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack_files import HEAD, LAYERS, load, only_problem, pointed_at, problems

from opsflow.config import load_stack
from opsflow.errors import ConfigError, ExitCode


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < 2


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_stack(path)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    return str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "no.yml") == f"{tmp_path}/no.yml: there is no such file"


def test_a_directory(tmp_path: Path) -> None:
    assert "is a directory" in refused(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yml")
    assert "is not a regular file" in refused(tmp_path / "pipe.yml")


def test_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "loop.yml").symlink_to(tmp_path / "loop.yml")
    assert "cannot be read: " in refused(tmp_path / "loop.yml")
    assert "cannot be read: " in refused(tmp_path / ("x" * 300 + ".yml"))
    assert "cannot be read: " in refused(tmp_path / "a\0b.yml")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "--- ~\n"])
def test_an_empty_file(tmp_path: Path, text: str) -> None:
    problem = only_problem(tmp_path, text)
    assert problem.message == "is empty"
    assert problem.hint == "a stack file starts with 'stack: NAME'"


@pytest.mark.parametrize("text", ["- stack: shop\n", "shop\n", "[]\n", "12\n"])
def test_something_else_than_a_mapping_at_the_top(tmp_path: Path, text: str) -> None:
    problem = only_problem(tmp_path, text)
    assert problem.message == "should be a mapping (KEY: VALUE)"
    assert problem.line == 1


def test_several_documents(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, HEAD + LAYERS + "---\nstack: other\n")
    assert (problem.line, problem.message) == (4, "has a second document")


def test_a_file_of_more_than_a_mebibyte_is_not_even_parsed(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, HEAD + "#" * 10_000_000)
    assert problem.message == "is larger than 1024 KiB"


class TestEncodings:
    def test_a_utf8_byte_order_mark_is_accepted(self, tmp_path: Path) -> None:
        loaded = load(tmp_path, b"\xef\xbb\xbf" + (HEAD + LAYERS).encode())
        assert loaded.stack.name == "shop"
        assert loaded.marks[("stack",)].key.column == 1

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
    def test_other_unicode_encodings(self, tmp_path: Path, encoding: str) -> None:
        problem = only_problem(tmp_path, (HEAD + LAYERS).encode(encoding))
        assert "UTF-" in problem.message
        assert "save it as UTF-8" in (problem.hint or "")

    def test_invalid_utf8_is_shown_by_its_position(self, tmp_path: Path) -> None:
        problem = only_problem(tmp_path, HEAD.encode() + b"description: caf\xe9\n")
        assert (problem.line, problem.column) == (3, 17)
        assert "0xe9" in problem.message

    def test_truncated_utf8_at_the_end(self, tmp_path: Path) -> None:
        assert only_problem(tmp_path, HEAD.encode() + b"description: \xe2\x82").line == 3

    @pytest.mark.parametrize("char", ["\0", "\x01", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\ufeff"])
    def test_invisible_characters(self, tmp_path: Path, char: str) -> None:
        problem = only_problem(tmp_path, HEAD + f"description: a{char}b\n")
        assert (problem.line, problem.column) == (3, 15)
        assert f"U+{ord(char):04X}" in problem.message
        assert char not in str(problem)

    def test_escapes_are_the_way_to_write_them(self, tmp_path: Path) -> None:
        assert load(tmp_path, HEAD + LAYERS + 'description: "a\\x1bb"\n').stack.description == "a\x1bb"

    def test_text_of_other_scripts_is_fine(self, tmp_path: Path) -> None:
        loaded = load(tmp_path, HEAD + LAYERS + "description: Zürich 東京 🚀\n")
        assert loaded.stack.description == "Zürich 東京 🚀"

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_line_ends(self, tmp_path: Path, end: str) -> None:
        problem = only_problem(tmp_path, (HEAD + LAYERS + "descriptoin: x\n").replace("\n", end))
        assert problem.line == 4
        assert pointed_at(problem) == "descriptoin: x"


class TestSyntax:
    def test_a_tab_in_the_indentation(self, tmp_path: Path) -> None:
        problem = only_problem(tmp_path, HEAD + "layers:\n\tapp: {}\n")
        assert (problem.line, problem.column, problem.message) == (4, 1, "a tab in the indentation")
        assert problem.hint == "indent with spaces"

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("layers: {app: {}\n", 4),
            ("layers: [app\n", 4),
            ('description: "open\n', 4),
            ("layers:\n  app: {}\n lb: {}\n", 5),
            ("a: b: c\n", 3),
            ("description: @x\n", 3),
            ("description: %x\n", 3),
            ("%YAML 1.2\n", 4),
            ("a: &\n", 3),
            ('a: "\\ud800"\n', 3),
        ],
    )
    def test_a_syntax_error_names_its_line(self, tmp_path: Path, text: str, line: int) -> None:
        problem = only_problem(tmp_path, HEAD + text)
        assert problem.line == line
        assert problem.message.startswith("is not valid YAML: ")
        assert problem.hint

    def test_an_unknown_alias(self, tmp_path: Path) -> None:
        problem = only_problem(tmp_path, HEAD + "layers: *layers\n")
        assert problem.message == "there is no anchor '&layers' above"

    def test_a_mapping_as_a_key(self, tmp_path: Path) -> None:
        found = problems(tmp_path, HEAD + LAYERS + "? {a: 1}\n: 2\n")
        assert "a key should be text, not a list or mapping" in [one.message for one in found]

    def test_an_empty_key(self, tmp_path: Path) -> None:
        assert only_problem(tmp_path, HEAD + LAYERS + "attributes: {? : 1}\n").message == "the key '' is not text"
        assert "visible" in only_problem(tmp_path, HEAD + LAYERS + 'attributes: {"": 1}\n').message


class TestTags:
    @pytest.mark.parametrize(
        "value",
        [
            "!!python/object/apply:os.system ['id']",
            "!!python/name:os.system",
            "!!python/object/new:os.system []",
            "!custom x",
            "!<tag:example.com,2026:x> y",
            "!!binary aGk=",
            "!!set {a, b}",
            "!!str 12",
        ],
    )
    def test_no_tag_is_allowed(self, tmp_path: Path, value: str) -> None:
        found = problems(tmp_path, HEAD + LAYERS + f"attributes:\n  a: {value}\n")
        assert found[0].path == "attributes/a"
        assert "is not allowed" in found[0].message
        assert (found[0].line, found[0].column) == (5, 6)


class TestDuplicates:
    def test_a_key_that_is_there_twice(self, tmp_path: Path) -> None:
        problem = only_problem(tmp_path, HEAD + LAYERS + "attributes:\n  a: 1\n  b: 2\n  a: 3\n")
        assert (problem.line, problem.column, problem.path) == (7, 3, "attributes/a")
        assert problem.message == "the key 'a' is there twice; first in line 5"
        assert problem.snippet == "  a: 3"

    def test_what_is_secret_in_it_is_not_shown(self, tmp_path: Path) -> None:
        inner = "{user: me, password: hunter2, keys: [{token: t0ken}]}"
        problem = only_problem(tmp_path, HEAD + LAYERS + f"attributes: {{db: 1, db: {inner}}}\n")
        assert problem.snippet == "attributes: {db: 1, db: {user: me, password: *******, keys: [{token: *****}]}}"

    def test_quotes_do_not_make_another_key(self, tmp_path: Path) -> None:
        assert only_problem(tmp_path, HEAD + LAYERS + "attributes: {a: 1, 'a': 2}\n").column == 20

    def test_the_same_letters_composed_differently(self, tmp_path: Path) -> None:
        text = HEAD + LAYERS + "attributes: {caf\u00e9: 1, cafe\u0301: 2}\n"
        assert "is there twice" in only_problem(tmp_path, text).message

    def test_each_level_counts_for_itself(self, tmp_path: Path) -> None:
        load(tmp_path, HEAD + LAYERS + "attributes: {a: {a: {a: 1}}}\n")


class TestAliases:
    def test_an_alias_is_the_value_that_it_names(self, tmp_path: Path) -> None:
        loaded = load(tmp_path, HEAD + LAYERS + "attributes: {a: &x {n: 1}, b: *x}\n")
        assert loaded.stack.attributes == {"a": {"n": 1}, "b": {"n": 1}}

    def test_merge_keys_give_way_to_own_keys(self, tmp_path: Path) -> None:
        text = (
            "attributes:\n  one: &one {a: 1, b: 1}\n  two: &two {b: 2, c: 2}\n  all: {c: 0, <<: [*one, *two], d: 3}\n"
        )
        loaded = load(tmp_path, HEAD + LAYERS + text)
        assert loaded.stack.attributes["all"] == {"a": 1, "b": 1, "c": 0, "d": 3}

    def test_what_is_merged_points_to_where_it_is_written(self, tmp_path: Path) -> None:
        loaded = load(tmp_path, HEAD + LAYERS + "attributes:\n  one: &one {a: 1}\n  two: {<<: *one}\n")
        assert loaded.marks[("attributes", "two", "a")].key.line == 5

    def test_a_quoted_merge_key_is_a_key(self, tmp_path: Path) -> None:
        assert load(tmp_path, HEAD + LAYERS + "attributes: {'<<': 1}\n").stack.attributes == {"<<": 1}

    def test_a_merge_of_something_else(self, tmp_path: Path) -> None:
        problem = only_problem(tmp_path, HEAD + LAYERS + "attributes: {<<: 1}\n")
        assert "should be an alias of a mapping" in problem.message

    @pytest.mark.parametrize("value", ["&a [*a]", "&a {b: *a}", "&a {<<: *a}", "&a [[{x: [*a]}]]"])
    def test_an_alias_inside_its_anchor(self, tmp_path: Path, value: str) -> None:
        problem = only_problem(tmp_path, HEAD + LAYERS + f"attributes: {{x: {value}}}\n")
        assert problem.message == "'*a' contains itself"

    def test_a_bomb_of_aliases(self, tmp_path: Path) -> None:
        bomb = "  a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
        )
        tracemalloc.start()
        problem = only_problem(tmp_path, HEAD + LAYERS + "attributes:\n" + bomb)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "aliases expand to more than" in problem.message
        assert peak < 50_000_000

    def test_a_bomb_of_merge_keys(self, tmp_path: Path) -> None:
        bomb = "  a0: &a0 {x: 1}\n" + "".join(
            f"  a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
        )
        assert "aliases expand" in only_problem(tmp_path, HEAD + LAYERS + "attributes:\n" + bomb).message

    def test_aliases_that_stack_up_depth(self, tmp_path: Path) -> None:
        tower = "  a0: &a0 [x]\n" + "".join(f"  a{n}: &a{n} [[[*a{n - 1}]]]\n" for n in range(1, 100))
        assert "levels" in only_problem(tmp_path, HEAD + LAYERS + "attributes:\n" + tower).message


class TestLimits:
    @pytest.mark.parametrize(
        "text",
        [
            "a: " + "[" * 10_000 + "]" * 10_000,
            "a: " + "[" * 10_000,
            "a: " + "{a: " * 10_000 + "1" + "}" * 10_000,
            "a:\n" + "".join(" " * depth + "a:\n" for depth in range(1, 1200)),
            "a:\n" + "- " * 10_000,
            "? " * 10_000,
        ],
        ids=["lists", "open lists", "mappings", "indented", "dashes", "keys"],
    )
    def test_nesting_of_ten_thousand_levels(self, tmp_path: Path, text: str) -> None:
        problem = problems(tmp_path, HEAD + text)[0]
        assert "nested deeper than 40 levels" in problem.message
        assert len(str(problem)) < 1000

    def test_a_million_values(self, tmp_path: Path) -> None:
        assert "has more than 30,000 values" in only_problem(tmp_path, HEAD + "a: [" + "[]," * 300_000 + "]").message

    def test_one_value_of_nearly_a_megabyte_is_not_repeated(self, tmp_path: Path) -> None:
        text = HEAD + "layers: {" + "x" * 900 + ": {name: " + "y" * 1_000_000 + "}}"
        for problem in problems(tmp_path, text):
            assert len(str(problem)) < 1500

    def test_a_file_that_is_all_wrong_is_told_the_first_hundred(self, tmp_path: Path) -> None:
        found = problems(tmp_path, HEAD + "layers: {a: {packages: [" + "1, " * 20_000 + "]}}")
        assert len(found) == 101
        assert "more problems" in found[-1].message

    def test_twenty_thousand_broken_references(self, tmp_path: Path) -> None:
        names = ", ".join(f"x{number}" for number in range(20_000))
        found = problems(tmp_path, HEAD + f"layers: {{a: {{instances: {{b: {{layers: [{names}]}}}}}}}}\n")
        assert found[0].message == "there is no layer 'x0'"

    def test_a_thousand_instances_are_quick(self, tmp_path: Path) -> None:
        instances = "".join(f"      i{n}: {{timezone: Europe/Zurich, attributes: {{n: {n}}}}}\n" for n in range(1000))
        loaded = load(tmp_path, HEAD + "layers:\n  app:\n    instances:\n" + instances)
        assert len(loaded.stack.members) == 1000
