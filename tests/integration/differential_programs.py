"""Random recipes, states to start from, and changes behind the tools' backs."""

from __future__ import annotations

import shlex

from hypothesis import strategies as st

PATHS = st.sampled_from(
    ["/srv/diff/a", "/srv/diff/b", "/srv/diff/a/c", "/srv/diff/a/c/d", "/srv/diff/l", '/srv/diff/it\'s "ü" $x\n*']
)
OUTSIDE = st.sampled_from(["/srv/diff/b", "/srv/diff/l"])
INSIDE = st.sampled_from(["/srv/diff/a", "/srv/diff/a/c"])
MODES = st.sampled_from([None, "600", "755", "1777", 640])
OWNERS = st.sampled_from([None, "app", "root"])
WORDS = st.sampled_from(["x", "y z", "it's", "a/b", "$HOME", "[x]", "x.*", "ü", "\\d", "a&b"])
YES = st.sampled_from([None, True])
PRESENT = st.sampled_from([None, None, None, False])
SOURCES = st.sampled_from(["plain.txt", "empty.txt", "noeol.txt", "binary.bin", "crlf.txt"])
MINUTES = st.sampled_from([None, 1, "*/5", [1, 2]])

ELSEWHERE: dict[str, object] = {
    "_sudo": st.sampled_from([None, None, None, True]),
    "_env": st.sampled_from([None, None, {"A": "b 'c' $d"}]),
    "_shell_executable": st.sampled_from([None, None, None, "bash"]),
}
"""Global arguments that change how a command is run, but not what it does."""


def call(operation: str, **arguments: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    """Calls of an operation with some of these arguments."""

    def text(values: dict[str, object]) -> str:
        given = ", ".join(f"{key}={value!r}" for key, value in values.items() if value is not None)
        return f"{operation}({given}, _ignore_errors=True)"

    return st.fixed_dictionaries({**arguments, **ELSEWHERE}).map(text)


FILES = st.one_of(
    call("files.directory", path=PATHS, mode=MODES, user=OWNERS, present=PRESENT, recursive=YES),
    call("files.file", path=PATHS, mode=MODES, user=OWNERS, present=PRESENT, touch=YES),
    call("files.link", path=PATHS, target=PATHS, present=PRESENT),
    call("files.put", src=SOURCES, dest=PATHS, mode=MODES, user=OWNERS),
    call("files.template", src=st.just("site.conf.j2"), dest=PATHS, ports=st.sampled_from([[], [1]]), mode=MODES),
    call("files.line", path=PATHS, line=WORDS, present=PRESENT, escape_regex_characters=YES, ensure_newline=YES),
    call("files.line", path=PATHS, line=WORDS, replace=WORDS),
    call("files.replace", path=PATHS, text=WORDS, replace=WORDS),
    call("files.block", path=PATHS, content=WORDS, present=PRESENT, try_prevent_shell_expansion=YES),
    # Not into itself: what cp does then depends on the order of the directory.
    call("files.copy", src=OUTSIDE, dest=INSIDE, overwrite=YES),
    call("files.move", src=OUTSIDE, dest=INSIDE, overwrite=YES),
    call("files.sync", src=st.just("tree"), dest=INSIDE, mode=MODES, user=OWNERS, delete=YES),
)
COMMANDS = st.one_of(
    call("server.shell", commands=PATHS.map(lambda path: f"test -f {_quoted(path)} && echo more >>{_quoted(path)}")),
    call("server.shell", commands=PATHS.map(lambda path: f"rm -rf {_quoted(path)}")),
    call("server.shell", commands=st.sampled_from(["exit 3", "false", "cat", "cd /; pwd"]), _chdir=INSIDE),
    call("server.shell", commands=st.just("exit 3"), _success_exit_codes=st.sampled_from([[3], [0, 4]])),
    call("server.script", src=st.sampled_from(["plain.sh", "failing.sh"])),
)
ACCOUNTS = st.one_of(
    call("server.group", group=st.just("diffgroup"), present=PRESENT),
    call(
        "server.user", user=st.just("web"), present=PRESENT, shell=st.sampled_from([None, "/bin/sh"]),
        comment=WORDS.filter(lambda word: ":" not in word), groups=st.sampled_from([None, ["diffgroup"], ["adm"]]),
        append=YES, create_home=YES,
    ),
    call("server.user_authorized_keys", user=st.just("app"), public_keys=st.sampled_from(["k 1", ["k 1", "k 2"]]),
         delete_keys=YES),
    call("crontab.crontab", command=st.sampled_from(["/bin/one", "echo 'it' > x"]), user=st.just("app"),
         minute=MINUTES, cron_name=st.sampled_from([None, "name"]), present=PRESENT),
)  # fmt: skip
OPERATIONS = st.one_of(FILES, FILES, FILES, COMMANDS, ACCOUNTS)


def _quoted(path: str) -> str:
    return shlex.quote(path)


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Recipes of a few operations, some of which depend on how earlier ones went."""
    lines: list[str] = []
    for number, line in enumerate(draw(st.lists(OPERATIONS, min_size=3, max_size=9))):
        if number and draw(st.booleans()):
            line = f"{line[:-1]}, _if={draw(conditions(number))})"
        lines.append(f"op{number} = {line}")
    return "\n".join(["from pyinfra.operations.util import all_changed, any_changed", *lines])


@st.composite
def conditions(draw: st.DrawFn, count: int) -> str:
    """What earlier operations did."""
    one, other = draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))
    how = draw(st.sampled_from(["did_change", "did_not_change", "did_succeed", "did_error"]))
    plain = f"op{one}.{how}"
    both = [f"[{plain}, op{other}.did_change]", f"any_changed(op{one}, op{other})", f"all_changed(op{one}, op{other})"]
    return draw(st.sampled_from([plain, plain, f"lambda: op{one}.{how}()", *both]))


BEGINNINGS = st.sampled_from(
    [
        "true",
        "mkdir -p /srv/diff/a/c; echo 'x' >/srv/diff/b; echo 'y z' >/srv/diff/a/c/d",
        "ln -s b /srv/diff/l; printf 'x\\ny' >/srv/diff/b; mkdir /srv/diff/a; chown app /srv/diff/a",
        # No FIFO: whoever reads one waits for ever. No device: SFTP compares sizes, so pyinfra cannot write to one.
        "ln -s /nowhere /srv/diff/a; mkdir /srv/diff/b; echo x >/srv/diff/l; chmod 0 /srv/diff/l",
        "ln -s l /srv/diff/a; ln -s a /srv/diff/l; useradd -m web; echo '1 * * * * /bin/one' | crontab -u app -",
        "mkdir -p /srv/diff/a/c; ln /etc/hostname /srv/diff/b; echo keep >/srv/diff/a/c/kept; chattr +i /srv/diff/b",
    ]
)

BEHIND = st.lists(
    st.sampled_from(
        [
            "chmod 711 {}", "chmod 0 {}", "chown app {}", "rm -rf {}", "echo more >>{}", ": >{}", "touch {}",
            "rm -rf {}; mkdir {}", "rm -rf {}; ln -s /nowhere {}", "rm -rf {}; ln -s ../b {}", "rm -rf {}; echo x >{}",
            "ln -f /srv/diff/b {}", "userdel -rf web", "groupadd diffgroup", "crontab -u app -r",
            "usermod -s /bin/bash web", "rm -rf /home/app/.ssh", "sed -i '$d' {}",
        ]
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


def behind_their_backs(commands: list[str], seed: int) -> str:
    """Shell text that applies each command to some file below /srv/diff, the same one on hosts that are alike."""
    lines = [
        'nth() { find /srv/diff -mindepth 1 -print0 | LC_ALL=C sort -z >/run/all; n=$(tr -dc "\\0" </run/all | wc -c);'
        ' [ "$n" = 0 ] && set -- 0 && echo /srv/diff/new && return;'
        ' tail -z -n +$(($1 % n + 1)) /run/all | head -z -n 1 | tr "\\n" "\\1" | tr -d "\\0"; }'
    ]
    for number, command in enumerate(commands):
        lines.append(f'f=$(nth {seed + number * 7} | tr "\\1" "\\n")')
        lines.append(command.replace("{}", '"$f"'))
    return "\n".join([*lines, "rm -f /run/all"])
