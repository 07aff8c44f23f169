"""Recipes of the differential suite: files, lines, links, uploads, downloads."""

from __future__ import annotations

from differential_twins import Case

ODD = '/srv/diff/odd/it\'s "a" $dir `x` ü/new\\nline'
"""A name that hurts in every place where a shell would look at it; the recipe's own text has the escape."""

DIRECTORIES = Case(
    "directories",
    """
    files.directory(path="/srv/diff/d")
    files.directory(path="/srv/diff/d/e/f", mode="750", user="app", group="app")
    files.directory(path="/srv/diff/d", mode="2775", recursive=False)
    files.directory(path="/srv/diff/gone", present=False)
    files.directory(path="/srv/diff/own", user="app", group="app", mode="700", recursive=True)
    files.file(path="/srv/diff/own/file", mode="640", user="app")
    files.file(path="/srv/diff/touched", touch=True)
    files.file(path="/srv/diff/old", present=False)
    files.link(path="/srv/diff/link", target="/srv/diff/own")
    files.link(path="/srv/diff/relative", target="own/file", symbolic=True)
    files.link(path="/srv/diff/hard", target="/srv/diff/own/file", symbolic=False)
    files.link(path="/srv/diff/oldlink", target="/x", present=False)
    files.link(path="/srv/diff/owned", target="/srv/diff/d", user="app", group="app")
    """,
    drifts=(
        "chmod 700 /srv/diff/d; chown app /srv/diff/d; rm -r /srv/diff/own; ln -sfn /tmp /srv/diff/link",
        "mkdir /srv/diff/gone; echo x >/srv/diff/old; ln -s /x /srv/diff/oldlink; chmod 0 /srv/diff/own/file",
    ),
)

IN_THE_WAY = Case(
    "things in the way",
    """
    files.directory(path="/srv/diff/a", force=True, force_backup=False)
    files.file(path="/srv/diff/b", force=True, force_backup=False)
    files.link(path="/srv/diff/c", target="/srv/diff/a", force=True, force_backup=False)
    files.directory(path="/srv/diff/d", force=True, force_backup_dir="/srv/diff")
    files.put(src="plain.txt", dest="/srv/diff/h", _ignore_errors=True)
    files.put(src="plain.txt", dest="/srv/diff/dangling", _ignore_errors=True)
    files.put(src="plain.txt", dest="/srv/diff/dangling2", _sudo=True, _ignore_errors=True)
    files.template(src="site.conf.j2", dest="/srv/diff/dangling2", ports=[1], _sudo=True, _ignore_errors=True)
    files.line(path="/srv/diff/readonly", line="added", _ignore_errors=True)
    files.template(src="site.conf.j2", dest="/srv/diff/readonly", ports=[1], _ignore_errors=True)
    server.shell(commands="ls -a /srv/diff >/srv/diff/list")
    """,
    before="""
    echo x >/srv/diff/a; mkdir /srv/diff/b; mkdir /srv/diff/c; echo x >/srv/diff/d; echo x >/srv/diff/e
    mkdir -p /srv/diff/f/full /srv/diff/h; echo x >/srv/diff/g; ln -s /nowhere/at/all /srv/diff/dangling
    ln -s made /srv/diff/dangling2
    echo locked >/srv/diff/readonly; chmod 444 /srv/diff/readonly
    ln -s loop2 /srv/diff/loop1; ln -s loop1 /srv/diff/loop2
    """,
    drifts=("rm -rf /srv/diff/a /srv/diff/e; ln -s /tmp /srv/diff/a; mkdir /srv/diff/e; rmdir /srv/diff/h",),
    hostile=True,
)

ODD_NAMES = Case(
    "odd names",
    f"""
    odd = {ODD!r}
    files.directory(path=odd)
    files.file(path=odd + "/f", mode="600", user="app")
    files.put(src="plain.txt", dest=odd + "/put")
    files.template(src="site.conf.j2", dest=odd + "/site", ports=[1])
    files.line(path=odd + "/lines", line="it's $HOME `id` ü", escape_regex_characters=True, _ignore_errors=True)
    files.block(path=odd + "/block", content="ü $HOME", _ignore_errors=True)
    files.link(path=odd + "/link", target=odd + "/put")
    files.copy(src=odd + "/put", dest="/srv/diff/to", overwrite=True, _ignore_errors=True)
    files.directory(path="/srv/diff/-rf")
    files.file(path="/srv/diff/*")
    files.file(path="/srv/diff/ leading and trailing ", mode="604")
    server.shell(commands="ls -aR /srv/diff >/srv/diff/list")
    """,
    before="mkdir /srv/diff/to",
    drifts=("chmod -R g+w /srv/diff/odd; rm -f /srv/diff/odd/*/*/put; rm -rf './srv/diff/-rf'",),
    hostile=True,
)

CONTENT = Case(
    "content",
    """
    from io import BytesIO, StringIO
    files.put(src="plain.txt", dest="/srv/diff/put", mode="600")
    files.put(src="empty.txt", dest="/srv/diff/sub/empty", user="app", group="app")
    files.put(src="noeol.txt", dest="/srv/diff/noeol")
    files.put(src="crlf.txt", dest="/srv/diff/crlf")
    files.put(src="binary.bin", dest="/srv/diff/binary", mode="640")
    files.put(src="large.bin", dest="/srv/diff/large", user="app")
    files.put(src=StringIO("in memory\\n"), dest="/srv/diff/memory", mode=True)
    files.put(src=BytesIO(b"\\x00\\xff"), dest="/srv/diff/bytes")
    files.put(src="plain.txt", dest="/srv/diff/put", mode="600")
    files.put(src="plain.txt", dest="/srv/diff/forced", force=True)
    files.put(src="plain.txt", dest="/srv/diff/assumed", assume_exists=True)
    files.put(src="plain.txt", dest="/srv/diff/dated", mtime=1600000000, atime=1600000000)
    files.template(src="site.conf.j2", dest="/srv/diff/site.conf", mode="644", ports=[80, 443])
    files.template(src="site.conf.j2", dest="/srv/diff/owned.conf", user="app", mode="440", ports=[])
    files.template(src=StringIO("<< word >>"), dest="/srv/diff/other.conf", word="w",
                   jinja_env_kwargs={"variable_start_string": "<<", "variable_end_string": ">>"})
    files.put(src="plain.txt", dest="/srv/diff/to/make/dirs", create_remote_dir=True)
    """,
    drifts=(
        "echo drift >>/srv/diff/put; chmod 644 /srv/diff/put; rm /srv/diff/site.conf; chown app /srv/diff/noeol",
        "rm -r /srv/diff/sub; ln -sf put /srv/diff/memory; : >/srv/diff/owned.conf; chmod 0 /srv/diff/owned.conf;"
        " printf x | dd of=/srv/diff/large bs=1 seek=9 conv=notrunc 2>/dev/null",
    ),
)

LINES = Case(
    "lines",
    """
    files.line(path="/srv/diff/lines", line="first")
    files.line(path="/srv/diff/lines", line="second")
    files.line(path="/srv/diff/lines", line="first")
    files.line(path="/srv/diff/conf", line="^#?Port .*", replace="Port 2222")
    files.line(path="/srv/diff/conf", line="^(Port|Listen) [0-9]+$", replace="Listen 1", extended_regex=True)
    files.line(path="/srv/diff/conf", line="Gone.*", present=False)
    files.line(path="/srv/diff/conf", line="It's \\"quoted\\" $HOME `id`", escape_regex_characters=True)
    files.line(path="/srv/diff/conf", line="home is $HOME", interpolate_variables=True)
    files.line(path="/srv/diff/conf", line="Exact", ensure_newline=True)
    files.line(path="/srv/diff/conf", line="flag", backup=True)
    files.line(path="/srv/diff/conf", line="FLAG", replace="Flag", flags=["i"])
    files.replace(path="/srv/diff/conf", text="alpha", replace="beta/gamma")
    files.replace(path="/srv/diff/conf", text="(be)(ta)", replace="\\\\2\\\\1", extended_regex=True, backup=True)
    files.replace(path="/srv/diff/conf", text="nothing", replace="something")
    files.block(path="/srv/diff/block", content="one\\ntwo", try_prevent_shell_expansion=True)
    files.block(path="/srv/diff/conf", content=["three", "four"], line="Port 2222", after=True)
    files.block(path="/srv/diff/conf", content="five", marker="## {mark} ##", begin="IN", end="OUT", line="beta.*",
                before=True)
    files.block(path="/srv/diff/conf", content="old", marker="## {mark} ##", begin="OLD", end="DLO", present=False)
    """,
    drifts=(
        "printf '#Port 22\\nGone with\\nalpha alpha\\nPort 1' >/srv/diff/conf; echo second >/srv/diff/lines",
        "echo one >/srv/diff/block; sed -i '/first/d' /srv/diff/lines; echo alpha >>/srv/diff/conf;"
        " printf '## OLD ##\\nold\\n## DLO ##\\n' >>/srv/diff/conf; chmod 400 /srv/diff/lines",
    ),
)

SYNC = Case(
    "sync",
    """
    files.sync(src="tree", dest="/srv/diff/tree")
    files.sync(src="tree", dest="/srv/diff/tree2", user="app", group="app", mode="600", dir_mode="750", delete=True,
               exclude="b.txt")
    files.sync(src="tree", dest="/srv/diff/tree3", exclude_dir="sub*")
    files.directory(path="/srv/diff/other")
    files.copy(src="/srv/diff/tree/a.txt", dest="/srv/diff/other", overwrite=True)
    files.move(src="/srv/diff/tree/sub", dest="/srv/diff/other", overwrite=True)
    """,
    drifts=("rm /srv/diff/tree/a.txt; echo x >/srv/diff/tree2/extra; chmod 777 /srv/diff/tree2/sub",),
)

FETCHED = Case(
    "archives and downloads",
    """
    files.put(src="archive.tar.gz", dest="/srv/diff/archive.tar.gz")
    files.directory(path="/srv/diff/out")
    files.unarchive(src="/srv/diff/archive.tar.gz", dest="/srv/diff/out", remote_src=True,
                    creates="/srv/diff/out/inside/one.txt")
    files.download(src="HTTP://plain.txt", dest="/srv/diff/got", mode="600", user="app")
    files.download(src="HTTP://large.bin", dest="/srv/diff/big", sha256sum=
        "SHA256:large.bin")
    files.download(src="HTTP://plain.txt", dest="/srv/diff/wrong", sha256sum="0" * 64, _ignore_errors=True)
    files.download(src="HTTP://nothing-there", dest="/srv/diff/none", _ignore_errors=True)
    files.download(src="HTTP://plain.txt", dest="/srv/diff/again", force=True, headers={"X-A": "b c"})
    files.download(src="HTTP://plain.txt", dest="/srv/diff/cached", cache_time=3600)
    files.unarchive(src="archive.tar.gz", dest="/srv/diff/out2", user="app", group="app", _ignore_errors=True)
    """,
    drifts=("echo x >/srv/diff/got; : >/srv/diff/big; rm -r /srv/diff/out/inside; rm /srv/diff/cached",),
)

CASES = [DIRECTORIES, IN_THE_WAY, ODD_NAMES, CONTENT, LINES, SYNC, FETCHED]
