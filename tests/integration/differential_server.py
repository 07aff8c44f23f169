"""Recipes of the differential suite: commands, users, cron, kernel and host settings, and every global argument."""

from __future__ import annotations

from differential_twins import Case

USERS = Case(
    "users",
    """
    server.group(group="diffgroup", gid=4321)
    server.user(user="web", home="/home/web", shell="/bin/sh", group="diffgroup", groups=["adm"], uid=4444,
                comment="The Web", create_home=True, public_keys=["ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"])
    server.user(user="web", home="/home/web", shell="/bin/sh", group="diffgroup", groups=["adm"], uid=4444,
                comment="The Web", create_home=True, public_keys=["ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"])
    server.user(user="web2", ensure_home=True, home="/home/other", unique=True, groups=["diffgroup"], append=True)
    server.user(user="web2", password="$6$salt$hash")
    server.user(user="nobody2", present=False)
    server.user_authorized_keys(user="web", public_keys=["ssh-ed25519 CCCC three"], delete_keys=True)
    server.user_authorized_keys(user="app", public_keys="id.pub")
    server.group(group="gone", present=False)
    files.directory(path="/srv/diff/web", user="web", group="diffgroup")
    """,
    drifts=("usermod -s /bin/bash -c x web; rm -r /home/web/.ssh; userdel web2; groupadd gone",),
    after="rm -rf /home/other /home/app/.ssh",
)

CRON = Case(
    "cron",
    """
    crontab.crontab(command="/bin/one", user="app", minute="5", hour="1", cron_name="one")
    crontab.crontab(command="/bin/two", user="app", special_time="@daily")
    crontab.crontab(command="/bin/one", user="app", minute="6", hour="1", cron_name="one")
    crontab.crontab(command="/bin/old", user="app", present=False)
    crontab.crontab(command="echo 'it'\\"'\\"'s %' > /dev/null", user="app", minute=[1, 2], day_of_week="mon")
    """,
    drifts=("echo '1 1 1 1 1 /bin/old' | crontab -u app -",),
)

SHELL = Case(
    "shell",
    """
    server.shell(commands="echo one >/srv/diff/one")
    server.shell(name="Two", commands=["cd /tmp; echo $PWD >/srv/diff/two", "pwd >>/srv/diff/two"])
    server.shell(commands="pwd >/srv/diff/three; umask >>/srv/diff/three", _chdir="/srv/diff")
    server.shell(commands="echo \\"$A:$B\\" >/srv/diff/env", _env={"A": "x y'z\\"$HOME", "B": 5})
    server.shell(commands="exit 3", _success_exit_codes=[0, 3])
    server.shell(commands="exit 4", _ignore_errors=True)
    server.shell(commands=["echo a >/srv/diff/four", "false", "echo b >>/srv/diff/four"], _ignore_errors=True)
    server.shell(commands="[[ a == a ]] && echo $0 >/srv/diff/bash", _shell_executable="bash")
    server.shell(commands="set -e; false; echo no >/srv/diff/no", _ignore_errors=True)
    server.shell(commands="cat >/srv/diff/stdin; set -- 1 2; echo $# $0 $* >/srv/diff/args")
    server.shell(commands="cat <<'E' >/srv/diff/here\\n$HOME `id` \\\\\\nE")
    server.shell(commands="X=1; export X; f() { :; }; alias ls=false; IFS=:; set -f")
    server.shell(commands="echo \\"[$X]\\" $IFS >/srv/diff/left; echo /srv/* >>/srv/diff/left; ls / >/dev/null")
    server.shell(commands="exec >/dev/null 2>&1; echo gone")
    server.shell(commands="sleep 1 & echo background >/srv/diff/background")
    server.shell(commands="printf 'no newline'; printf '\\\\377\\\\000' >&2")
    server.shell(commands="kill -TERM $$", _ignore_errors=True)
    server.shell(commands="true\\n# a comment at the end")
    server.script(src="plain.sh")
    server.script(src="args.sh", args=("a b", "c"))
    server.script(src="failing.sh", _ignore_errors=True)
    server.script_template(src="templated.sh.j2", word="given")
    server.shell(commands="sleep 30", _timeout=1, _ignore_errors=True)
    server.hostname(hostname="twin2")
    server.hostname(hostname="twin")
    """,
    # Not this machine's, which may talk to systemd.
    before="printf '#!/bin/sh\\nhostname \"$2\"\\n' >/usr/local/bin/hostnamectl; chmod +x /usr/local/bin/hostnamectl",
    after="rm -f /usr/local/bin/hostnamectl",
)

SETTINGS = Case(
    "host settings",
    """
    server.etc_hosts(ip="10.9.8.7", hostnames=["diff.example", "diff"], path="/srv/diff/hosts")
    server.etc_hosts(ip="10.9.8.6", present=False, path="/srv/diff/hosts")
    server.security_limit(domain="app", limit_type="soft", item="nofile", value=4096)
    server.sysctl(key="net.core.somaxconn", value=123456, persist=True, persist_file="/srv/diff/sysctl",
                  _ignore_errors=True)
    server.mount(path="/srv/diff/mnt", device="none", fs_type="tmpfs", options=["size=1m"])
    server.mount(path="/srv/diff/mnt", device="none", fs_type="tmpfs", options=["size=1m"])
    files.file(path="/srv/diff/mnt/inside")
    server.timezone(timezone="Europe/Paris", _ignore_errors=True)
    server.locale(locale="en_GB.UTF-8")
    server.locale(locale="en_GB.UTF-8", present=False)
    server.modprobe(module="dummy", _ignore_errors=True)
    server.modprobe(module=["dummy", "bonding"], present=False, _ignore_errors=True)
    server.wait(port=SSH_PORT)
    server.packages(packages=["dash"])
    """,
    before="""
    mkdir -p /srv/diff/mnt /etc/security; touch /srv/diff/hosts; : >/etc/security/limits.conf
    printf '# en_GB.UTF-8 UTF-8\\n' >/etc/locale.gen
    printf '#!/bin/sh\\nexit 0\\n' >/usr/local/sbin/locale-gen; chmod +x /usr/local/sbin/locale-gen
    """,
    drifts=(
        "umount /srv/diff/mnt; sed -i s/diff/other/ /srv/diff/hosts; echo >/etc/security/limits.conf",
        "mount -o remount,size=2m /srv/diff/mnt; echo '10.9.8.6 old' >>/srv/diff/hosts",
    ),
    after="rm -f /usr/local/sbin/locale-gen",
)

KILL = Case(
    "kill",
    """
    server.kill(pid=4999999, _ignore_errors=True)
    server.kill(pid=4999999, signal="KILL", _ignore_errors=True)
    """,
)

CONDITIONS = Case(
    "conditions",
    """
    a = files.directory(path="/srv/diff/made")
    b = files.directory(path="/srv/diff/made")
    server.shell(commands="echo a >>/srv/diff/a", _if=a.did_change)
    server.shell(commands="echo b >>/srv/diff/b", _if=b.did_change)
    c = server.shell(commands="echo out; exit 1", _ignore_errors=True)
    server.shell(commands="echo c >>/srv/diff/c", _if=c.did_error)
    server.shell(commands="echo d >>/srv/diff/d", _if=lambda: "out" in c.stdout)
    server.shell(commands="echo e >>/srv/diff/e", _if=[a.did_change, c.did_error])
    server.shell(commands="echo f >>/srv/diff/f", _if=b.did_not_change)
    server.shell(commands="echo g >>/srv/diff/g", _if=[a.did_succeed, b.did_succeed])
    from pyinfra.operations.util import all_changed, any_changed
    server.shell(commands="echo h >>/srv/diff/h", _if=any_changed(a, b))
    server.shell(commands="echo i >>/srv/diff/i", _if=all_changed(a, b))
    d = server.shell(commands="cat /srv/diff/made/counter 2>/dev/null; echo x >>/srv/diff/made/counter")
    server.shell(commands="echo j >>/srv/diff/j", _if=lambda: "x" in d.stdout_lines)
    server.shell(commands="echo k >>/srv/diff/k", _if=lambda: not a.did_change() and d.did_succeed())
    for n in host.loop([1, 2, 3]):
        files.directory(path=f"/srv/diff/loop{n}")
        server.shell(commands=f"echo {n} >>/srv/diff/order")
    from pyinfra.facts.files import Directory
    if host.get_fact(Directory, path="/srv/diff/made"):
        server.shell(commands="echo there >/srv/diff/there")
    """,
    drifts=("rm -r /srv/diff/made /srv/diff/loop2", "rm -r /srv/diff/loop3; echo y >/srv/diff/made/counter"),
)

DEPLOYS = Case(
    "deploys and nested operations",
    """
    from pyinfra.api import deploy, operation
    from pyinfra.facts.files import File

    @deploy("Install it", data_defaults={"diff_word": "default"})
    def install(path):
        made = files.directory(name="Its directory", path=path)
        files.put(src="plain.txt", dest=path + "/file", mode="600")
        server.shell(commands=f"echo {host.data.diff_word} >>{path}/word", _if=made.did_change)

    @operation()
    def both(path):
        yield from files.directory._inner(path=path)
        if not host.get_fact(File, path=path + "/mark"):
            yield f"touch {path}/mark"
        yield from server.shell._inner(commands=f"test -f {path}/mark && echo ok >>{path}/log")

    install("/srv/diff/first")
    install("/srv/diff/second", _sudo=True)
    both(path="/srv/diff/nested")
    both(path="/srv/diff/nested")
    """,
    drifts=("rm -r /srv/diff/first /srv/diff/nested/mark; chmod 644 /srv/diff/second/file",),
)

DEPENDENT = Case(
    "facts that earlier operations make untrue",
    """
    server.shell(commands="mkdir -p /srv/diff/x && echo text >/srv/diff/x/file && ln -sfn x /srv/diff/y")
    files.file(path="/srv/diff/x/file", mode="600")
    files.line(path="/srv/diff/x/file", line="text")
    files.line(path="/srv/diff/x/file", line="more")
    files.link(path="/srv/diff/y", target="x")
    server.shell(commands="useradd -m web")
    server.user(user="web", shell="/bin/bash")
    files.put(src="plain.txt", dest="/home/web/put", user="web")
    server.shell(commands="rm -rf /srv/diff/x")
    files.directory(path="/srv/diff/x", mode="711")
    files.file(path="/srv/diff/x/n1")
    server.shell(commands="ls /srv/diff/x | wc -l >/srv/diff/n")
    files.line(path="/srv/diff/n", line="1")
    """,
    drifts=("userdel -rf web", "chmod 700 /srv/diff/x; echo 7 >/srv/diff/n"),
)

ATTEMPTS = Case(
    "attempts, input, functions and downloads",
    """
    flaky = server.shell(commands="echo x >>/srv/diff/tries; [ $(wc -l </srv/diff/tries) -ge 3 ]", _retries=4,
                         _retry_delay=0.01)
    server.shell(commands="echo tried >>/srv/diff/tried", _if=flaky.did_change)
    server.shell(commands="echo y >>/srv/diff/vain; false", _retries=2, _retry_delay=0.01, _ignore_errors=True)
    server.shell(commands="echo z >>/srv/diff/until; cat /srv/diff/until", _retries=3, _retry_delay=0.01,
                 _retry_until=lambda output: len(output["stdout_lines"]) < 2)
    server.shell(commands=["echo 1 >>/srv/diff/on", "false", "echo 2 >>/srv/diff/on"], _continue_on_error=True,
                 _ignore_errors=True)
    server.shell(commands="cat >/srv/diff/input", _stdin="one line")
    server.shell(commands="cat >>/srv/diff/input", _stdin=["two", "three ü '$x'"])
    seen = {}
    def look(word):
        seen["word"] = word
    called = python.call(function=look, word="heard")
    server.shell(commands="echo called >>/srv/diff/called", _if=lambda: seen.get("word") == "heard")
    files.get(src="/srv/diff/input", dest="LOCAL/got")
    files.get(src="/srv/diff/nothing", dest="LOCAL/none", _ignore_errors=True)
    """,
    drifts=("rm -f /srv/diff/tries; echo other >/srv/diff/input",),
)

PASSWORDS = Case(
    "passwords",
    """
    server.shell(commands="id -un >/srv/diff/who", _sudo=True, _sudo_password="right one")
    files.put(src="plain.txt", dest="/srv/diff/put", mode="600", _sudo=True, _sudo_password="right one")
    files.line(path="/srv/diff/lines", line="added", _sudo=True, _sudo_password="right one")
    server.shell(commands="cat >/srv/diff/in", _sudo=True, _sudo_password="right one", _stdin="input")
    server.shell(commands="id -un >/srv/diff/no", _sudo=True, _sudo_password="wrong", _ignore_errors=True)
    """,
    drifts=("echo x >/srv/diff/put; rm /srv/diff/lines",),
    before="usermod -p $(openssl passwd -6 -salt diff 'right one') dev; echo 'dev ALL=(ALL) ALL' >/etc/sudoers.d/dev",
    after="usermod -p '*' dev; echo 'dev ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/dev",
    user="dev",
)

AS_OTHERS = Case(
    "as other users",
    """
    from io import StringIO
    files.directory(path="/srv/diff/root", mode="700", _sudo=True)
    files.put(src=StringIO("secret\\n"), dest="/srv/diff/root/file", mode="600", _sudo=True)
    files.template(src="site.conf.j2", dest="/srv/diff/site", ports=[1], user="app", _sudo=True)
    files.directory(path="/home/app/made", _sudo=True, _sudo_user="app")
    server.shell(commands="id -un >/home/app/who; echo $HOME >>/home/app/who", _sudo=True, _sudo_user="app")
    files.line(path="/home/app/line", line="hello", _sudo=True, _sudo_user="app")
    server.shell(commands="id -un >/home/app/su", _sudo=True, _su_user="app")
    server.shell(commands="id -un >/home/app/login; pwd >>/home/app/login", _sudo=True, _sudo_user="app",
                 _use_sudo_login=True)
    server.shell(commands="echo $KEPT >/home/app/kept", _sudo=True, _sudo_user="app", _preserve_sudo_env=True,
                 _env={"KEPT": "k"})
    server.shell(commands="id -un >/home/app/sulogin; pwd >>/home/app/sulogin", _sudo=True, _su_user="app",
                 _use_su_login=True, _su_shell="/bin/sh")
    server.shell(commands="pwd >/home/app/there", _sudo=True, _sudo_user="app", _chdir="/home/app",
                 _shell_executable="bash")
    server.shell(commands="id -un >/home/dev/me; pwd >>/home/dev/me")
    files.put(src="plain.txt", dest="relative.txt")
    files.line(path="/srv/diff/root/file", line="added", _sudo=True)
    server.user(user="web", _sudo=True)
    server.shell(commands="echo \\"$X\\" >/srv/diff/env", _sudo=True, _env={"X": "a 'b' $c"})
    files.file(path="/srv/diff/root/no", _ignore_errors=True)
    files.put(src="plain.txt", dest="/srv/diff/root/no", _ignore_errors=True)
    """,
    drifts=("rm -r /home/app/made; echo x >/srv/diff/root/file; chown root /srv/diff/site",),
    before="which setfacl >/dev/null || ln -sf /bin/true /usr/local/bin/setfacl",
    after="rm -f /usr/local/bin/setfacl; rm -rf /home/app/* /home/dev/*",
    user="dev",
)

CASES = [USERS, CRON, SHELL, SETTINGS, KILL, CONDITIONS, DEPLOYS, DEPENDENT, ATTEMPTS, PASSWORDS, AS_OTHERS]

FAILURES = {
    "a command": 'server.shell(commands=["echo a >/srv/diff/a", "exit 5", "echo b >/srv/diff/b"])',
    "a conflict": 'server.shell(commands="echo x >/srv/diff/d")\nfiles.directory(path="/srv/diff/d")',
    "a file in place of a directory": 'server.shell(commands="echo x >/srv/diff/e")\n'
    'files.directory(path="/srv/diff/e")',
    "a directory in place of a file": 'server.shell(commands="mkdir /srv/diff/f")\nfiles.file(path="/srv/diff/f")',
    "a file in place of a link": 'server.shell(commands="echo x >/srv/diff/g")\n'
    'files.link(path="/srv/diff/g", target="a")',
    "a dangling link in place of a directory": 'server.shell(commands="ln -s /nowhere /srv/diff/d")\n'
    'files.directory(path="/srv/diff/d", force=True, force_backup_dir="/srv/diff/backups")',
    "a circle of links": 'server.shell(commands="ln -s m /srv/diff/l; ln -s l /srv/diff/m")\n'
    'files.directory(path="/srv/diff/l/x")',
    "a file in place of a tree": 'server.shell(commands="echo x >/srv/diff/e")\n'
    'files.sync(src="tree", dest="/srv/diff/e/tree")',
    "an error after a command of the same operation": """
from pyinfra.api import OperationError, operation
@operation()
def late():
    yield "echo first >>/srv/diff/first"
    raise OperationError("too late")
late()
""",
    "output that is read after a command of the same operation": """
from pyinfra.api import operation
told = server.shell(commands="echo word")
@operation()
def uses():
    yield "echo a >>/srv/diff/a"
    yield f"echo {told.stdout} >>/srv/diff/b"
    yield "exit 3"
uses()
""",
    "no directory": 'files.put(src="plain.txt", dest="/srv/diff/no/such", create_remote_dir=False)',
    "no user": 'files.file(path="/srv/diff/f", user="nosuchuser")',
    "no source": 'server.shell(commands="echo x >/srv/diff/x")\nfiles.line(path="/srv/diff/nodir/f", line="x")',
    "after an ignored one": 'files.file(path="/srv/diff/f", user="nosuchuser", _ignore_errors=True)\n'
    'server.shell(commands="ls /srv/diff >/srv/diff/list")',
    "a command of several in one operation": 'server.user(user="web", shell="/bin/sh", groups=["nosuchgroup"])',
    "an operation that raises": 'files.file(path="/srv/diff/f")\nfiles.flags(path="/srv/diff/f", flags=["uchg"])',
    "an exception of a function": "python.raise_exception(exception=ValueError)",
    "a missing program": 'server.shell(commands="no-such-program-anywhere")',
}
