"""Compiles planned operations into one script for a host; the shell functions that it calls are in prelude."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from opsflow.engine import put, reread, root_shell, tame
from opsflow.engine.batch import ESCALATED, Batch, batches
from opsflow.engine.messages import CommandStep, FactAnswer, FactStep, PlannedOperation, UploadStep
from opsflow.engine.prelude import done, unlock
from opsflow.engine.record import mark_of
from opsflow.engine.root_shell import READER, goes_through, through

SLOW = 0.03
"""Seconds. A wrong assumption costs a round trip and a plan, which is about as much."""

LONGEST_WORD = 65_536
"""Bytes of a file that is a word of the script."""
PLAIN = re.compile(rb"[\t\n -~]*")
"""Bytes that mean themselves in every shell and locale."""
LARGEST_BESIDE = 262_144
"""Bytes of files that a small file system in memory takes without harm."""

LIMIT = re.compile(r"\|\d+\n")
"""What stands after each answer where many are compared at a stroke: its exit code."""


class FactNumbers:
    """Gives each fact of a session its number, and knows what its shell knows about it."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._keys: list[str] = []
        self._told = 0
        self._seconds: dict[int, float] = {}
        self._held: dict[int, FactAnswer] = {}
        self._rooted = False

    def took(self, number: int, seconds: float) -> None:
        """Note how long the host needed for an answer."""
        self._seconds.setdefault(number, seconds)

    def slow(self, number: int) -> bool:
        """Whether it is cheaper to assume that the fact is as it was, and read it only where it matters."""
        return self._seconds.get(number, 0.0) > SLOW

    def number(self, key: str) -> int:
        """The fact's number."""
        number = self._numbers.setdefault(key, len(self._keys))
        if number == len(self._keys):
            self._keys.append(key)
        return number

    def key(self, number: int) -> str:
        """The fact of a number."""
        return self._keys[number]

    def introduced(self) -> str:
        """Shell text that tells about the facts that are new since the last call."""
        first, self._told = self._told, len(self._keys)
        texts = [through(self._keys[number]) for number in range(first, self._told)]
        told = "".join(f"_c{first + index}={shlex.quote(text)}\n" for index, text in enumerate(texts))
        return f"{self.rooted()}{told}" if any(map(goes_through, texts)) else told

    def rooted(self) -> str:
        """Shell text for what is done as root, when it has not been told yet."""
        told, self._rooted = self._rooted, True
        return "" if told else root_shell.SHELL

    def hold(self, number: int, answer: FactAnswer) -> None:
        """The shell has read the fact, and compares with this answer from now on."""
        self._held[number] = answer

    def drop(self, number: int) -> None:
        """What the shell compares the fact with is not known any more."""
        self._held.pop(number, None)

    def held(self, number: int) -> FactAnswer | None:
        """What the shell compares the fact with, unless it is told something else."""
        return self._held.get(number)


def fetch(keys: Sequence[str], numbers: FactNumbers) -> str:
    """Read facts: for each, its output, then ``f NUMBER EXIT_CODE``; at the end ``d``."""
    different = list(dict.fromkeys(keys))
    lines = reread.text([(numbers.number(key), key) for key in different])
    as_root = sum(goes_through(through(key)) for key in different)
    return numbers.introduced() + _at_once([*_root(as_root), *lines])


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled script and what its frames mean."""

    text: str
    uploads: Mapping[int, UploadStep]
    """Number of a staged file -> the step; those without inline content must be staged before the script runs."""
    commands: Mapping[int, tuple[int, int]]
    """Number of a command -> (position in the operations, step)."""


def compile_operations(
    operations: Sequence[PlannedOperation],
    numbers: FactNumbers,
    known: Mapping[str, FactAnswer],
    *,
    fresh: Collection[str],
    first: Sequence[FactStep] = (),
    again: Collection[str] | None = None,
    last: bool = False,
) -> Program:
    """One script for the operations: every fact that matters is read again at its position, then the commands run.

    A fact is read again when a command of the script has run before it, when its own operation has a command after
    it, and when its answer is not ``fresh``. It stops at the first difference (``m OPERATION STEP``, then fresh facts
    for what is left, but for those that the host is slow to answer) and at the first command that fails.

    ``known`` is what facts are assumed to be where a step does not say otherwise. The facts of ``first`` must be as
    assumed before anything else; a difference there is ``m -1 INDEX``. Where ``again`` is given, facts of the
    operations, and those that it names, are read once more at the end if a command may have changed them since. After
    the ``last`` script of a run the host's lock is given back, provided that everything went well.
    """
    compiler = _Compiler(operations, numbers, known, fresh, again=again)
    return compiler.compile(first, last=last)


class _Compiler:
    def __init__(
        self,
        operations: Sequence[PlannedOperation],
        numbers: FactNumbers,
        known: Mapping[str, FactAnswer],
        fresh: Collection[str],
        *,
        again: Collection[str] | None,
    ) -> None:
        self._operations = operations
        self._numbers = numbers
        self._known = known
        self._fresh = fresh
        self._again = again
        self._body: list[str] = []
        self._staged: list[str] = []
        self._uploads: dict[int, UploadStep] = {}
        self._commands: dict[int, tuple[int, int]] = {}
        self._last_use: dict[int, int] = {}
        self._verified: set[int] = set()
        self._waiting: list[tuple[FactStep, int, int]] = []
        """Facts to verify here, with their positions: nothing is written between them."""
        self._told: dict[int, FactAnswer | None] = {}
        """Fact -> what the shell compares it with at this point of the script; None: that depends."""
        self._written = False
        self._as_root = 0
        """How often something is done as root."""

    def compile(self, first: Sequence[FactStep], *, last: bool) -> Program:
        for index, step in enumerate(first):
            self._verify(step, -1, index)
        self._flush()
        for position, operation in enumerate(self._operations):
            self._operation(position, operation)
        self._flush()
        if self._again is not None and (self._written or self._again):
            stale = dict.fromkeys([*self._last_use, *map(self._numbers.number, self._again)])
            facts = [(number, self._numbers.key(number)) for number in stale if number not in self._verified]
            self._body += reread.text(facts, hold=False)
        if last:
            self._body.append(unlock())
        refresh = [
            f"[ $1 -gt {position} ] || _g {number}"
            for number, position in self._last_use.items()
            if not self._numbers.slow(number)
        ]
        staged = self._staging() if self._uploads else ""
        body = [*_root(self._as_root), *self._body]
        text = staged + "_R() { :\n" + "\n".join(refresh) + "\n}\n" + _at_once(body)
        for number in self._told:
            self._numbers.drop(number)
        rooted = self._numbers.rooted() if self._as_root else ""
        return Program(rooted + self._numbers.introduced() + text, self._uploads, self._commands)

    def _operation(self, position: int, operation: PlannedOperation) -> None:
        last = max((i for i, step in enumerate(operation.steps) if not isinstance(step, FactStep)), default=-1)
        for index, step in enumerate(operation.steps):
            if not isinstance(step, FactStep):
                self._flush()
                self._command(position, index, operation, step)
            elif self._written or index < last or step.key not in self._fresh:
                self._verify(step, position, index)
            else:
                self._last_use[self._numbers.number(step.key)] = position

    def _verify(self, step: FactStep, position: int, index: int) -> None:
        number = self._numbers.number(step.key)
        self._last_use[number] = position
        if number not in self._verified:
            self._as_root += goes_through(through(step.key))
            self._verified.add(number)
            self._waiting.append((step, position, index))

    def _flush(self) -> None:
        """Verify what waits: all of it at a stroke, or one by one to find the difference."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        answers = [step.answer or self._known[step.key] for step, _, _ in waiting]
        stroke = _at_a_stroke(waiting, answers, self._numbers)
        told = "" if stroke is None else "".join(self._assume(*each, surely=True) for each in stroke.told)
        one_by_one = [
            f"{self._assume(self._numbers.number(step.key), answer, surely=stroke is None)}"
            f"_k {self._numbers.number(step.key)} {position} {index} {step.mask} || return"
            for (step, position, index), answer in zip(waiting, answers, strict=True)
        ]
        self._body += one_by_one if stroke is None else [f"{told}if {stroke.test}; then :; else", *one_by_one, "fi"]

    def _assume(self, number: int, answer: FactAnswer, *, surely: bool) -> str:
        """Tell the shell what a fact is assumed to be, unless it knows."""
        before = self._told[number] if number in self._told else self._numbers.held(number)
        if before is not None and (before.exit_code, before.stdout) == (answer.exit_code, answer.stdout):
            return ""
        self._told[number] = answer if surely else None
        return f"_o{number}={shlex.quote(answer.stdout)} _r{number}={answer.exit_code}\n"

    def _staging(self) -> str:
        """Write the files that come with the script: where the FIFOs are, or where there is room."""
        sizes = [step.size if step.content is not None else LARGEST_BESIDE + 1 for step in self._uploads.values()]
        files = "".join(["_files() {\n_sf=\n", *self._staged, '[ -z "$_sf" ]\n}\n'])
        if sum(sizes) > LARGEST_BESIDE:
            return f"{files}_stage apart\n_files\n"
        return f"{files}_stage; _files || {{ _stage apart; _files; }}\n"

    def _command(self, position: int, index: int, operation: PlannedOperation, step: CommandStep | UploadStep) -> None:
        number = len(self._commands)
        self._commands[number] = (position, index)
        source = "/dev/null"
        if isinstance(step, UploadStep):
            source = f'"$_s{number}"'
            self._uploads[number] = step
            if step.content is not None:
                self._staged.append(_inline(number, step.content))
                self._body.append(f'[ -f "$_s{number}" ] || _restage')
            else:
                self._body.append(f'_s{number}="$_S/{number}"; [ -f "$_s{number}" ] || _s{number}=/dev/null')
        run, text = self._text(number, step)
        noted = f"'{operation.index} {mark_of(operation, step)}'"
        self._body.append(f"{run} {number} {source} {noted} {shlex.quote(text)}\n{_check(step)}")
        if isinstance(step, UploadStep):
            # Without a process where that is enough: what is left is empty, and is removed with its directory.
            self._body.append(
                f'[ ! -f "$_s{number}" ] || true >"$_s{number}"'
                if step.content is not None
                else f'[ ! -f "$_s{number}" ] || rm -f "$_s{number}"'
            )
        self._verified.clear()
        self._written = True

    def _text(self, number: int, step: CommandStep | UploadStep) -> tuple[str, str]:
        """The shell function that runs a step, and the text for it."""
        arrived = _arrived(number, step) if isinstance(step, UploadStep) else ""
        if isinstance(step, UploadStep) and put.recognised(step.script):
            return "_y", f"({arrived}{step.script}\n)"
        if tame.writes(step.script):
            # What the shell does itself cannot be ended without it.
            return "_y", f"({step.script})" if step.script.startswith("echo") else step.script
        text = through(step.script)
        if not goes_through(text):
            return "_x", f"{arrived}{text}" if isinstance(step, UploadStep) else _apart(text)
        self._as_root += 1
        return "_kr=1; _x", f"{arrived}{text}"


@dataclass(frozen=True, slots=True)
class _Stroke:
    """A test that holds only if every fact is as assumed."""

    test: str
    told: Sequence[tuple[int, FactAnswer]]
    """What the shell must be told before: facts by number, and what they are assumed to be."""


def _at_a_stroke(
    waiting: Sequence[tuple[FactStep, int, int]], answers: Sequence[FactAnswer], numbers: FactNumbers
) -> _Stroke | None:
    """One test for all facts; None where looking at each is no longer."""
    facts = [(step.key, answer) for (step, _, _), answer in zip(waiting, answers, strict=True)]
    made, single = batches(facts, [step.mask for step, _, _ in waiting], least=1)
    if any(waiting[index][0].mask for index in single) or (not made and len(single) < 2):  # noqa: PLR2004 - one is alone
        return None
    tests = [batch.tests for batch in made if batch.tests]
    printing = [batch for batch in made if not batch.tests]
    told = [(numbers.number(facts[index][0]), *facts[index]) for index in single]
    if printing or told:
        printed = _prints(printing, told)
        if printed is None:
            return None
        tests.append(printed)
    return _Stroke(" && ".join(tests), [(number, answer) for number, _, answer in told])


def _prints(made: Sequence[Batch], single: Sequence[tuple[int, str, FactAnswer]]) -> str | None:
    """A test that looks at what facts print; None where one answer could be taken for another."""
    parts = [f'{_batch(through(batch.command))}; echo "|$?"' for batch in made]
    parts += [f'{_evaluated(number, key)}; echo "|$?"' for number, key, _ in single]
    said = "".join(f"{answer.stdout}|{answer.exit_code}\n" for _, _, answer in single)
    expected = "".join(f"{batch.expected}|0\n" for batch in made)
    if len(LIMIT.findall(expected + said)) > len(parts):
        return None  # an answer looks like the end of one, so it could be in another's place
    inside = "\n".join(parts)
    known = "".join(f"$_o{number}|$_r{number}\n" for number, _, _ in single)
    return f'[ "$(exec 3>&- 4>&- </dev/null\n{inside}\necho .)" = {shlex.quote(expected)}"{known}." ]'


def _batch(command: str) -> str:
    """A batch reads through the shell of root, or gets nothing of it."""
    return f"{{ {command}\n}}{'' if goes_through(command) else ' 7>&- 9<&-'}"


def _evaluated(number: int, key: str) -> str:
    text = f'eval "$_c{number}"'
    return text if tame.reads(key) else f'(_bare "$_c{number}"; {text})'


def _check(step: CommandStep | UploadStep) -> str:
    codes = step.success_codes if isinstance(step, CommandStep) else (0,)
    return f"case $_r in {'|'.join(str(code) for code in codes)}) ;; *) return ;; esac"


def _arrived(number: int, step: UploadStep) -> str:
    """Refuse a staged file that is not whole: nobody looks at how staging it ended."""
    file = f'"$_s{number}"'
    full = "the staged file is not whole; its directory is full or cannot be written"
    whole = f"[ -f {file} ]" if _is_plain(step.content) else f'[ "$(wc -c <{file})" -eq {step.size} ]'
    return f'{whole} || {{ echo "$_S: {full}" >&2; exit 1; }}\n'


def _inline(number: int, content: bytes) -> str:
    """Write what comes with the script to a file; plain text without starting a process."""
    file = f'"$_S/{number}"'
    ended = f"_s{number}={file} || {{ _s{number}=/dev/null; _sf=1; }}\n"
    if _is_plain(content):
        return f"printf %s {shlex.quote(content.decode())} >{file} && {ended}"
    return f"base64 -d >{file} <<'_B64_' && {ended}{base64.encodebytes(content).decode()}_B64_\n"


def _is_plain(content: bytes | None) -> bool:
    return content is not None and len(content) <= LONGEST_WORD and PLAIN.fullmatch(content) is not None


def _apart(script: str) -> str:
    """The script in a shell of its own, which knows nothing of ours; it is not an argument, where others could see it.

    One for another user has its own; one that needs a password finds that in our shell, and hands it to another.
    """
    if ESCALATED.fullmatch(script) or "_pass _P" in script:
        return script
    mark = f"_OPSFLOW_{hashlib.sha256(script.encode(errors='surrogatepass')).hexdigest()[:12]}_"
    return f"sh -c {shlex.quote(READER)} <<'{mark}'\n{script}\n{mark}"


def _root(times: int) -> list[str]:
    """Start a shell of root where one is needed."""
    return ["_root"] if times else []


def _at_once(lines: Sequence[str]) -> str:
    """Nothing runs before all of it has arrived: a function, then its call."""
    return "_run() { :\n" + "\n".join(lines) + "\n}\n_run\n" + done()
