"""Recipes of the differential suite: services, databases, containers, the kernel, and git, gpg and ssh."""

from __future__ import annotations

from differential_packages import told
from differential_twins import Case

_INIT_SCRIPT = """#!/bin/sh
### BEGIN INIT INFO
# Provides: here
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
case $1 in
status) test -e /srv/diff/running ;;
start) touch /srv/diff/running ;;
stop) rm -f /srv/diff/running ;;
esac
[ "$1" = status ] || echo "here $1" >>/srv/diff/calls
"""
_SCRIPT = f"cat >%s <<'SCRIPT'\n{_INIT_SCRIPT}SCRIPT\nchmod +x %s"

# A directory of its own, since the others there may answer to `status` with the time of day.
SYSVINIT = Case(
    "sysvinit and BSD scripts",
    """
    sysvinit.service(service="here", running=True, enabled=True)
    sysvinit.service(service="here", running=True)
    sysvinit.service(service="here", restarted=True)
    sysvinit.service(service="here", reloaded=True, command="custom")
    sysvinit.enable(service="here", start_priority=21, stop_priority=79)
    sysvinit.service(service="here", running=False, enabled=False)
    bsdinit.service(service="here", running=True, _ignore_errors=True)
    bsdinit.service(service="here", restarted=True, _ignore_errors=True)
    server.service(service="here", running=True)
    """,
    before=(
        "mv /etc/init.d /etc/init.diff; mkdir -p /etc/init.d /etc/rc.d /usr/local/etc/rc.d;"
        f" {_SCRIPT % (('/etc/init.d/here',) * 2)}\ncp /etc/init.d/here /etc/rc.d/here; rm -f /usr/bin/systemctl"
    ),
    drifts=(
        "rm -f /srv/diff/running /etc/rc2.d/S*here",
        "touch /srv/diff/running; ln -s ../init.d/here /etc/rc2.d/S99here",
    ),
    after=(
        "rm -rf /etc/rc.d /usr/local/etc/rc.d /etc/rc?.d/*here; [ -d /etc/init.diff ] && rm -rf /etc/init.d &&"
        " mv /etc/init.diff /etc/init.d"
    ),
)

SERVICES = told(
    "services of other systems",
    ("systemctl", "initctl", "launchctl", "rc-service", "rc-status", "rc-update", "sv", "service", "sysrc",
     "freebsd-update", "pkg", "puppet"),
    """
    from pyinfra.operations.freebsd import freebsd_update, pkg as freebsd_pkg, service, sysrc
    systemd.service(service="here.service", running=True, enabled=True)
    systemd.service(service="here.service", restarted=True, daemon_reload=True)
    systemd.service(service="here", running=False, enabled=False)
    systemd.service(service="here", reloaded=True, user_mode=True, _ignore_errors=True)
    systemd.service(service="refuse.service", command="refuse", _ignore_errors=True)
    systemd.daemon_reload()
    systemd.daemon_reload(machine="m", user_name="u")
    server.service(service="here", running=True, enabled=True)
    upstart.service(service="here", running=True, enabled=False)
    upstart.service(service="here", restarted=True)
    launchd.service(service="here", running=True)
    launchd.service(service="here", restarted=True)
    openrc.service(service="here", running=True, enabled=True, runlevel="default")
    openrc.service(service="here", running=False, enabled=False)
    runit.manage(service="here", svdir="/srv/diff/service", sourcedir="/srv/diff/sv")
    runit.auto(service="here", auto=False, sourcedir="/srv/diff/sv")
    runit.wait_runsv(service="here", svdir="/srv/diff/service", timeout=2)
    runit.service(service="here", svdir="/srv/diff/service", sourcedir="/srv/diff/sv", running=True, enabled=True)
    runit.service(service="here", svdir="/srv/diff/service", sourcedir="/srv/diff/sv", managed=False, running=False)
    service.service(srvname="here", srvstate="started", _ignore_errors=True)
    service.service(srvname="here", srvstate="stopped", _ignore_errors=True)
    sysrc.sysrc("here_enable", "YES")
    sysrc.sysrc("here_enable", "YES", command="add")
    sysrc.sysrc("here_enable", "NO", command="set", overwrite=True, jail="j")
    sysrc.sysrc("here_enable", "YES", command="del")
    freebsd_pkg.update(force=True)
    freebsd_pkg.upgrade()
    freebsd_pkg.install("here")
    freebsd_pkg.remove("here", jail="j")
    freebsd_pkg.autoremove()
    freebsd_pkg.clean(all_pkg=True)
    freebsd_update.update(force=True)
    puppet.agent(server="puppet.example", port=8140, _success_exit_codes=[0, 2])
    """,
    before="cd /srv/diff; mkdir -p service sv/here/supervise /etc/init; mkfifo sv/here/supervise/ok",
    after="rm -rf /etc/init",
)  # fmt: skip

DATABASES = told(
    "databases",
    ("mysql", "mysqldump", "psql", "pg_dump"),
    """
    mysql.sql("SELECT 'it''s'", database="here", mysql_user="root", mysql_password="p'w $x")
    mysql.user(user="here", password="secret", privileges=["SELECT"])
    mysql.user(user="new", password="secret", max_connections=5, user_hostname="%")
    mysql.user(user="here", present=False)
    mysql.database(database="here", user="here", charset="utf8")
    mysql.database(database="new", collate="utf8_general_ci")
    mysql.database(database="here", present=False)
    mysql.privileges(user="here", privileges=["SELECT", "INSERT"], database="here", _ignore_errors=True)
    mysql.dump(dest="/srv/diff/mysql.sql", database="here")
    mysql.load(src="/srv/diff/dump.sql", database="here")
    postgres.sql("SELECT 1", psql_database="here", psql_password="p'w")
    postgres.role(role="here", password="secret", login=True, superuser=True)
    postgres.role(role="new", connection_limit=5)
    postgres.role(role="here", present=False)
    postgres.database(database="here", owner="here")
    postgres.database(database="new", encoding="UTF8", template="template0")
    postgres.database(database="here", present=False)
    postgres.dump(dest="/srv/diff/pg.sql", psql_database="here")
    postgres.load(src="/srv/diff/dump.sql", psql_database="here")
    postgresql.sql("SELECT 2")
    postgresql.role(role="new")
    postgresql.database(database="new")
    postgresql.dump(dest="/srv/diff/pg2.sql")
    postgresql.load(src="/srv/diff/dump.sql")
    mysql.sql("refuse", _ignore_errors=True)
    postgres.sql("refuse", _ignore_errors=True)
    """,
    before="echo 'SELECT 1;' >/srv/diff/dump.sql",
)

CONTAINERS = told(
    "containers and file systems",
    ("docker", "lxc", "vzctl", "vzlist", "zfs", "lsmod"),
    """
    docker.container(container="here", image="img:1", ports=["80:80"], env_vars=["A=b c"], volumes=["/a:/b"],
                     labels=["x=y"], networks=["net"], restart_policy="always", _ignore_errors=True)
    docker.container(container="new", image="img:1", start=False, pull_always=True, _ignore_errors=True)
    docker.container(container="here", image="img:1", present=False, force=True, _ignore_errors=True)
    docker.image("here:1")
    docker.image("here:1", present=False, force=True)
    docker.build(path="/srv/diff", tags=["a:1"], build_args={"X": "it's"}, pull=True)
    docker.volume("here", driver="local", labels=["a=b"])
    docker.volume("here", present=False)
    docker.network("here", driver="bridge", attachable=True, subnet="10.1.0.0/16")
    docker.network("here", present=False)
    docker.prune(all=True, volumes=True, filter="until=1h")
    docker.plugin("here", alias="h", plugin_options={"a": "b"}, _ignore_errors=True)
    docker.plugin("here", present=False, _ignore_errors=True)
    docker.login(username="u", password="p'w", server="reg.example")
    docker.logout(server="reg.example")
    docker.compose(project_directory="/srv/diff", files=["a.yml"], build=True)
    docker.compose(project_directory="/srv/diff", present=False, remove_volumes=True)
    docker.container_exec(container="here", command=["echo", "it's"], env={"A": "b"})
    docker.container_exec(container="refuse", command="x", _ignore_errors=True)
    lxd.container(id="here")
    lxd.container(id="new", image="ubuntu:24.04")
    lxd.container(id="here", present=False)
    vzctl.create(ctid="102", template="debian", _ignore_errors=True)
    vzctl.set(ctid="101", hostname="x y")
    vzctl.start(ctid="101", force=True)
    vzctl.stop(ctid="101")
    vzctl.restart(ctid="101")
    vzctl.mount(ctid="101")
    vzctl.unmount(ctid="101")
    vzctl.delete(ctid="101")
    zfs.dataset("tank/here", properties={"atime": "off"})
    zfs.filesystem("tank/new", properties={"atime": "off"}, recursive=True)
    zfs.volume("tank/vol", "1G", sparse=True)
    zfs.snapshot("tank/here@one")
    zfs.dataset("tank/here", present=False, recursive=True)
    """,
)

KERNEL = told(
    "kernel and security",
    ("chcon",  "getsebool", "setsebool", "semanage", "sepolicy", "iptables-save", "ip6tables-save", "iptables",
     "ip6tables", "modprobe", "lsmod", "timedatectl"),
    """
    selinux.boolean("here", "on", persistent=True)
    selinux.boolean("here", "off")
    selinux.file_context("/srv/diff", "here_t", _ignore_errors=True)
    selinux.file_context_mapping("/srv/here", se_type="other_t", _shell_executable="bash")
    selinux.file_context_mapping("/srv/here", present=False, _shell_executable="bash")
    selinux.port("tcp", 8080, se_type="here_port_t", _ignore_errors=True)
    selinux.port("tcp", 8080, present=False, _ignore_errors=True)
    iptables.chain(chain="HERE")
    iptables.chain(chain="HERE", present=False)
    iptables.chain(chain="INPUT", policy="DROP")
    iptables.rule(chain="INPUT", jump="ACCEPT", source="1.2.3.4")
    iptables.rule(chain="INPUT", jump="ACCEPT", source="1.2.3.4", present=False)
    iptables.rule(chain="INPUT", jump="DROP", protocol="tcp", destination_port=22, not_source="5.6.7.8")
    server.modprobe(module="here")
    server.modprobe(module=["here", "zfs"], present=False, force=True)
    server.timezone(timezone="Europe/Paris")
    """,
)  # fmt: skip

GIT = Case(
    "git",
    """
    git.config(key="user.name", value="It's me", system=False)
    git.config(key="core.editor", value="vi", repo="/srv/diff/local")
    git.config(key="remote.origin.fetch", value="+refs/x", repo="/srv/diff/local", multi_value=True)
    git.bare_repo(path="/srv/diff/made.git", user="app", group="app")
    git.repo(src="/srv/diff/origin.git", dest="/srv/diff/clone", branch="main")
    git.repo(src="/srv/diff/origin.git", dest="/srv/diff/clone2", branch="other", rebase=True, user="app", group="app")
    git.repo(src="/srv/diff/origin.git", dest="/srv/diff/shallow", branch="main", depth=1, pull=False)
    git.worktree(repo="/srv/diff/clone", worktree="/srv/diff/tree", new_branch="fresh", commitish="main", pull=False)
    git.worktree(repo="/srv/diff/clone", worktree="/srv/diff/old", present=False)
    git.bare_repo(path="/srv/diff/gone.git", present=False)
    git.repo(src="/srv/diff/nothing.git", dest="/srv/diff/none", _ignore_errors=True)
    server.shell(commands="git -C /srv/diff/clone log --format=%H%an >/srv/diff/log; rm -rf /srv/diff/*/.git/index"
                          " /srv/diff/*/.git/logs /srv/diff/clone/.git/worktrees/tree/index"
                          " /srv/diff/clone/.git/worktrees/tree/logs; git -C /srv/diff/clone reset -q")
    server.shell(commands="rm -rf /srv/diff/*/.git/index /srv/diff/*/.git/logs /srv/diff/*/.git/FETCH_HEAD")
    """,
    before="""
    export GIT_AUTHOR_DATE='1600000000 +0000' GIT_COMMITTER_DATE='1600000000 +0000'
    git config --system user.email a@example.org; git config --system user.name a
    git config --system safe.directory '*'; git config --system gc.auto 0
    git init -q -b main /srv/diff/local; cd /srv/diff/local
    echo one >f; git add f; git commit -qm one; git branch other
    git clone -q --bare /srv/diff/local /srv/diff/origin.git; rm -f .git/index; rm -rf .git/logs
    git init -q --bare /srv/diff/gone.git
    """,
    drifts=(
        "export GIT_AUTHOR_DATE='1600000001 +0000' GIT_COMMITTER_DATE='1600000001 +0000';"
        "cd /srv/diff/local; git reset -q; echo two >f; git commit -qam two; git push -q ../origin.git main;"
        " rm -rf .git/index .git/logs /srv/diff/clone2",
        "git -C /srv/diff/clone checkout -q -b elsewhere; rm -rf /srv/diff/clone/.git/index /srv/diff/clone/.git/logs;"
        " rm -r /srv/diff/made.git; git config --global user.name other",
    ),
    after="rm -f /etc/gitconfig /root/.gitconfig",
)

_KEY = "gpg --batch --homedir /srv/diff/home"
GPG_AND_SSH = Case(
    "gpg, apt keys and ssh",
    """
    files.put(src="key.asc", dest="/srv/diff/key.asc")
    gpg.key(src="/srv/diff/key.asc", dest="/srv/diff/key.gpg")
    gpg.key(src="HTTP://key.asc", dest="/srv/diff/key2.gpg", mode="0640")
    gpg.key(dest="/srv/diff/key-gone.gpg", present=False)
    gpg.dearmor(src="/srv/diff/key.asc", dest="/srv/diff/dearmored.gpg")
    apt.key(src="/srv/diff/key.asc", dest="diff", _ignore_errors=True)
    ssh.keyscan(hostname="HOST_ADDRESS", port=SSH_PORT)
    ssh.keyscan(hostname="HOST_ADDRESS", port=SSH_PORT, force=True)
    ssh.command(hostname="there", command="echo it's", user="u", port=2200)
    ssh.upload(hostname="there", filename="/srv/diff/key.asc", remote_filename="/tmp/x", port=2200)
    ssh.download(hostname="there", filename="/tmp/y", local_filename="/srv/diff/downloaded")
    server.shell(commands="awk '{print $1, $2}' ~/.ssh/known_hosts | sort -u >/srv/diff/known;"
                          " rm -r ~/.ssh/known_hosts*")
    """,
    before=(
        'for p in ssh scp; do printf \'#!/bin/sh\\nline=%s; for a; do line="$line [$a]"; done;'
        ' printf "%%s\\\\n" "$line" >>/srv/diff/calls\' $p >/usr/local/sbin/$p; chmod +x /usr/local/sbin/$p; done;'
        " echo x >/srv/diff/key-gone.gpg; mkdir -p /etc/apt/keyrings"
    ),
    drifts=(
        "rm /srv/diff/key.gpg /etc/apt/keyrings/diff*; echo x >>/srv/diff/key2.gpg",
        "chmod 600 /srv/diff/key2.gpg",
    ),
    after="rm -rf /usr/local/sbin/ssh /usr/local/sbin/scp /etc/apt/keyrings/diff* /root/.ssh/known_hosts* /root/.gnupg",
)

CASES = [SYSVINIT, SERVICES, DATABASES, CONTAINERS, KERNEL, GIT, GPG_AND_SSH]
