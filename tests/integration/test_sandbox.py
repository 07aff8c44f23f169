"""Sandboxes as a user meets them: over SSH with strict host keys, from creation to nothing left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from opsflow.clock import SystemClock
from opsflow.errors import CapabilityError, ProviderError
from opsflow.model.machine import Machine, MachineRequest, MachineState
from opsflow.providers.compute.sandbox import SandboxProvider, images
from opsflow.providers.compute.sandbox.addresses import AddressBook
from opsflow.providers.compute.sandbox.cgroups import FILES
from opsflow.providers.compute.sandbox.processes import Process

pytestmark = pytest.mark.sandbox
CLOCK = SystemClock()
ADDRESSES = Path("/run/opsflow/addresses")


class Project:
    """A project directory with sandboxes of stack ``shop``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = root.name.replace("_", "-")[-24:].lower().strip("-")
        self.state = root / ".opsflow/sandbox"
        self.provider = SandboxProvider(self.state, CLOCK)

    def request(self, instance: str, **options: object) -> MachineRequest:
        token = f"{self.name}-{instance}-0001"
        return MachineRequest(token=token, stack="shop", instance=instance, options=options)

    def create(self, *instances: str, **options: object) -> list[Machine]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda name: self.provider.create(self.request(name, **options)), instances))

    def destroy(self) -> None:
        for machine in self.provider.list("shop"):
            self.provider.terminate(machine)

    def process(self, machine: Machine) -> Process:
        process = Process.read(self.state / "machines" / machine.token / "process.json")
        assert process is not None
        return process


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.destroy()


@contextmanager
def connected(machine: Machine) -> Iterator[paramiko.SSHClient]:
    """A strict connection, as soon as sshd answers."""
    assert machine.address
    kind, key = machine.host_keys[0].split()
    entry = paramiko.hostkeys.HostKeyEntry.from_line(f"host {kind} {key}")
    assert entry is not None
    assert entry.key is not None
    name = machine.address if machine.port == 22 else f"[{machine.address}]:{machine.port}"
    deadline = CLOCK.monotonic() + 20
    while True:
        client = paramiko.SSHClient()
        client.get_host_keys().add(name, kind, entry.key)
        try:
            client.connect(
                machine.address,
                machine.port,
                machine.user,
                key_filename=machine.key_file,
                allow_agent=False,
                look_for_keys=False,
                timeout=10,
            )
            break
        except OSError:
            client.close()
            if CLOCK.monotonic() > deadline:
                raise
            CLOCK.sleep(0.02)
    try:
        yield client
    finally:
        client.close()


def run(machine: Machine, command: str) -> str:
    with connected(machine) as client:
        _, output, errors = client.exec_command(command, timeout=30)
        text, problem = output.read().decode(), errors.read().decode()
        code = output.channel.recv_exit_status()
    assert code == 0, f"{command}: exit {code}: {problem}"
    return text.strip()


def leftovers(project: Project) -> list[str]:
    """What a project without sandboxes must not have: mounts, processes, files, addresses, groups."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(project.root) in line]
    files = [str(path) for folder in ("machines", "records") for path in (project.state / folder).glob("*")]
    owners = [file.name for file in ADDRESSES.glob("*") if str(project.root) in file.read_text()]
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/opsflow-sandbox-*{project.name}*")]
    return mounts + files + owners + groups + disks(project) + list(inhabitants(project))


def disks(project: Project) -> list[str]:
    """Loop devices of files below the project."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found.append(backing.read_text())
        except OSError:
            continue  # it went away between being listed and being read
    return [text for text in found if str(project.root) in text]


def inhabitants(project: Project) -> Iterator[str]:
    """Processes whose root or log is below the project: a sandbox's first process keeps its log open."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(project.root) in str((process / "fd/2").readlink()):
                yield process.name
        except OSError:
            continue


# ------------------------------------------------------------------------------------------------ being a machine


def test_each_sandbox_is_a_machine_of_its_own(project: Project) -> None:
    machines = project.create("app1", "app2", "db1")
    assert len({machine.address for machine in machines}) == 3
    assert len({machine.host_keys for machine in machines}) == 3
    assert [run(machine, "hostname") for machine in machines] == ["app1", "app2", "db1"]
    assert len({run(machine, "cat /etc/machine-id") for machine in machines}) == 3
    for machine in machines:
        name = run(machine, "hostname")
        assert machine.address in run(machine, f"getent ahostsv4 {name}")


def test_files_of_one_are_not_files_of_another_nor_of_this_machine(project: Project) -> None:
    one, other = project.create("app1", "app2")
    run(one, "echo changed > /etc/debian_version; echo mine > /opt/opsflow-sandbox-test; useradd -m opsflowtest")
    assert run(one, "cat /etc/debian_version /opt/opsflow-sandbox-test") == "changed\nmine"
    assert run(other, "cat /etc/debian_version") == Path("/etc/debian_version").read_text().strip()
    assert run(other, "ls /opt/opsflow-sandbox-test 2>/dev/null; id opsflowtest 2>/dev/null; true") == ""
    assert not Path("/opt/opsflow-sandbox-test").exists()
    assert "opsflowtest" not in Path("/etc/passwd").read_text()


def test_private_files_of_this_machine_are_not_there(project: Project) -> None:
    secret = project.root / "secret.txt"
    secret.write_text("nobody must see this")
    (machine,) = project.create("app1")
    assert run(machine, f"test -e {secret} || echo hidden") == "hidden"
    assert run(machine, "ls -A /home /var/tmp /tmp | grep -v :").strip() == ""
    assert run(machine, "ls -A /root").split() == [
        name for name in (".bashrc", ".profile") if Path(f"/etc/skel/{name}").exists()
    ]
    assert run(machine, "ls /etc/ssh | grep -c ssh_host_ || true") == "0"
    assert run(machine, "cut -d: -f2 /etc/shadow | grep -c '[$]' || true") == "0"
    assert run(machine, "env | grep -c PYTEST || true") == "0"
    assert run(machine, "tr '\\0' '\\n' < /proc/1/environ | cut -d= -f1 | sort | tr '\\n' ' '").split() == [
        "HOME",
        "PATH",
    ]


def test_kernel_settings_of_this_machine_cannot_be_changed(project: Project) -> None:
    (machine,) = project.create("app1")
    assert "Read-only" in run(machine, "echo 1 > /proc/sys/vm/swappiness 2>&1; true") or os.access("/proc/sys", 0)
    before = Path("/proc/sys/vm/swappiness").read_text()
    run(machine, "(echo 1 > /proc/sys/vm/swappiness) 2>/dev/null; true")
    assert Path("/proc/sys/vm/swappiness").read_text() == before


def test_devices_terminals_and_temporary_files_work(project: Project) -> None:
    (machine,) = project.create("app1")
    assert (
        run(machine, "echo gone > /dev/null; head -c 4 /dev/zero | wc -c; echo x > /dev/shm/x; cat /dev/shm/x")
        == "4\nx"
    )
    assert run(machine, "cd $(mktemp -d) && touch a && ls") == "a"
    with connected(machine) as client:
        _, output, _ = client.exec_command("tty; sh -c 'echo ok > /dev/tty'", get_pty=True, timeout=30)
        assert output.read().decode().split() == ["/dev/pts/0", "ok"]


def test_processes_of_others_cannot_be_seen(project: Project) -> None:
    one, other = project.create("app1", "app2")
    run(one, "setsid sleep 1234 < /dev/null > /dev/null 2>&1 &")
    assert "sleep 1234" in run(one, "ps -ef")
    assert "sleep 1234" not in run(other, "ps -ef")
    assert f" {os.getpid()} " not in run(other, "ps -e -o '%p '") or os.getpid() < 50


def test_a_daemon_survives_its_session_and_orphans_are_reaped(project: Project) -> None:
    (machine,) = project.create("app1")
    run(machine, "setsid sh -c 'sleep 0.1 & sleep 0.2 & exec sleep 4321' < /dev/null > /dev/null 2>&1 &")
    run(machine, "for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; sleep 0.5")
    processes = run(machine, "ps -e -o stat,ppid,args")
    assert "sleep 4321" in processes
    orphans = [line for line in processes.splitlines() if line.startswith("Z") and line.split()[1] == "1"]
    assert orphans == []


def test_systemd_is_not_there_and_services_start_without_it(project: Project) -> None:
    (machine,) = project.create("app1")
    with connected(machine) as client, client.open_sftp() as sftp, sftp.open("/etc/init.d/pet", "w") as file:
        file.write("#!/bin/sh\ntest $1 = start && start-stop-daemon -S -b -m -p /run/pet.pid -x /bin/sleep -- 99\n")
    run(machine, "chmod +x /etc/init.d/pet; service pet start")
    assert run(machine, "sleep 0.2; kill -0 $(cat /run/pet.pid) && echo running") == "running"
    assert run(machine, "command -v systemctl || test -d /run/systemd/system || echo none") == "none"


def test_files_are_sent_over_sftp(project: Project) -> None:
    (machine,) = project.create("app1")
    with connected(machine) as client, client.open_sftp() as sftp, sftp.open("/etc/motd", "w") as file:
        file.write("hello")
    assert run(machine, "cat /etc/motd") == "hello"


def test_nobody_gets_in_without_the_key(project: Project) -> None:
    (machine,) = project.create("app1")
    run(machine, "true")
    with paramiko.Transport((str(machine.address), machine.port)) as transport:
        transport.start_client(timeout=10)
        with pytest.raises(paramiko.BadAuthenticationType) as refused:
            transport.auth_none("root")
        assert refused.value.allowed_types == ["publickey"]
        with pytest.raises(paramiko.AuthenticationException):
            transport.auth_publickey("root", paramiko.ECDSAKey.generate())
    key = Path(str(machine.key_file))
    assert key.stat().st_mode & 0o777 == 0o600


# ------------------------------------------------------------------------------------------------ its life


def test_stop_keeps_the_disk_and_start_the_identity(project: Project) -> None:
    (machine,) = project.create("app1")
    run(
        machine,
        "echo kept > /srv/file; echo 192.0.2.1 other >> /etc/hosts; setsid sleep 777 > /dev/null 2>&1 < /dev/null &",
    )
    process = project.process(machine)
    stopped = project.provider.stop(machine)
    assert stopped.state is MachineState.STOPPED
    assert not process.alive
    again = project.provider.start(stopped)
    assert again == machine
    assert run(again, "cat /srv/file; grep -c other /etc/hosts; pgrep -c sleep || true") == "kept\n1\n0"


def test_stop_lets_processes_end_properly(project: Project) -> None:
    (machine,) = project.create("app1")
    trap = "trap 'sleep 0.2; echo saved > /srv/state; exit' TERM; while :; do sleep 0.05; done"
    run(machine, f'setsid sh -c "{trap}" < /dev/null > /dev/null 2>&1 & sleep 0.2')
    again = project.provider.start(project.provider.stop(machine))
    assert run(again, "cat /srv/state") == "saved"


def test_a_process_that_ignores_the_end_is_killed(project: Project) -> None:
    (machine,) = project.create("app1")
    run(machine, "setsid sh -c \"trap '' TERM; while :; do sleep 1; done\" < /dev/null > /dev/null 2>&1 &")
    process = project.process(machine)
    assert project.provider.stop(machine).state is MachineState.STOPPED
    assert not process.alive


def test_a_machine_that_shuts_itself_down_is_stopped(project: Project) -> None:
    (machine,) = project.create("app1")
    with connected(machine) as client:
        client.exec_command("kill $(pgrep -o -x sshd)")
        process = project.process(machine)
        deadline = CLOCK.monotonic() + 10
        while process.alive and CLOCK.monotonic() < deadline:
            CLOCK.sleep(0.02)
    found = project.provider.find(machine.token)
    assert found is not None
    assert found.state is MachineState.STOPPED


def test_an_address_that_somebody_took_is_replaced_everywhere(project: Project) -> None:
    (machine,) = project.create("app1")
    project.provider.stop(machine)
    thief = project.root / "thief"
    thief.write_text("")
    (ADDRESSES / str(machine.address)).write_text(json.dumps({"owner": str(thief)}))
    again = project.provider.start(machine)
    assert again.address != machine.address
    assert again.host_keys == machine.host_keys
    assert again.address in run(again, "getent ahostsv4 app1")
    AddressBook(CLOCK).release(thief)


def test_terminate_leaves_nothing(project: Project) -> None:
    machines = project.create("app1", "app2")
    run(
        machines[0],
        "touch /srv/x; chmod 000 /srv/x; mknod /srv/dev c 1 3; ln -s / /srv/everything; mkdir -p /srv/a/b/c",
    )
    processes = [project.process(machine) for machine in machines]
    for machine in machines:
        project.provider.terminate(machine)
    assert not any(process.alive for process in processes)
    assert leftovers(project) == []
    assert Path("/etc/passwd").exists()


def test_limits_hold(project: Project) -> None:
    (machine,) = project.create("app1", processes=40, memory="64m")
    assert run(machine, "for i in $(seq 100); do sleep 0.5 & done 2>&1 | tail -1; true").count("sleep") == 0
    names = {Path(line.split(":", 2)[2]).name for line in run(machine, "cat /proc/self/cgroup").splitlines()}
    assert any(name.startswith(f"opsflow-sandbox-{machine.token}-") for name in names)
    assert (
        run(machine, "head -c 200m /dev/zero | tail -c 150m > /dev/null 2>&1 && echo fits || echo killed") == "killed"
    )
    assert set(FILES) == {"pids", "memory"}


# ------------------------------------------------------------------------------------------------ other roots


def test_another_directory_as_root(project: Project) -> None:
    with pytest.raises(ProviderError, match="there is no"):
        project.create("app1", root="images/missing.tar")
    (project.root / "images/empty").mkdir(parents=True)
    with pytest.raises(ProviderError, match="has no /usr/sbin/sshd"):
        project.create("app1", root="images/empty")
    project.destroy()
    assert leftovers(project) == []


def test_a_tarball_as_root(project: Project) -> None:
    image = project.root / "image.tar"
    pack_root(image)
    (machine,) = project.create("app1", root="image.tar")
    assert run(machine, "cat /etc/image; hostname") == "from the tarball\napp1"


def test_a_hostile_tarball_writes_nothing_outside(project: Project) -> None:
    image = project.root / "image.tar"
    with tarfile.open(image, "w") as tar:
        link = tarfile.TarInfo("etc")
        link.type, link.linkname = tarfile.SYMTYPE, str(project.root)
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("etc/owned"))
    with pytest.raises(ProviderError, match="cannot be unpacked"):
        project.create("app1", root="image.tar")
    assert not (project.root / "owned").exists()


def pack_root(image: Path) -> None:
    """A root of just what a sandbox needs, taken from this machine."""
    programs = ["/usr/sbin/sshd", "/bin/sh", "/bin/cat", "/bin/hostname", "/bin/sleep", "/bin/bash"]
    extra = ["/usr/lib/openssh/sshd-session", "/usr/lib/openssh/sshd-auth"]
    programs += [path for path in extra if Path(path).exists()]
    libraries: set[str] = set()
    for program in programs:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        libraries |= {word for word in listed.split() if word.startswith("/")}
    libraries |= {str(path) for path in Path("/lib").glob("*-linux-gnu/libnss_files.so.2")}
    with tarfile.open(image, "w") as tar:
        for path in sorted({*programs, *libraries}):
            tar.add(Path(path).resolve(), arcname=path.lstrip("/"))
        for name in ("tmp", "var/empty", "root", "run"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        passwd = "root:x:0:0:root:/root:/bin/bash\nsshd:x:101:65534::/run/sshd:/bin/false\n"
        files = {"etc/passwd": passwd, "etc/shadow": "root:!:1::::::\n", "etc/image": "from the tarball\n"}
        for name, text in files.items():
            source = image.with_name("packed.txt")
            source.write_text(text)
            tar.add(source, arcname=name)


# ------------------------------------------------------------------------------------------------ crashes


CREATE = """
    import sys
    from pathlib import Path
    from opsflow.clock import SystemClock
    from opsflow.model.machine import MachineRequest
    from opsflow.providers.compute.sandbox import SandboxProvider
    provider = SandboxProvider(Path(sys.argv[1]), SystemClock())
    print("ready", flush=True)
    sys.stdin.readline()
    provider.create(MachineRequest(token=sys.argv[2], stack="shop", instance="app1"))
"""


@pytest.mark.parametrize("milliseconds", [0, 3, 8, 15, 25, 40, 60, 80, 100, 130])
def test_a_creator_killed_at_any_moment_orphans_nothing(project: Project, milliseconds: int) -> None:
    request = project.request("app1")
    command = [sys.executable, "-c", textwrap.dedent(CREATE), str(project.state), request.token]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as creator:
        assert creator.stdout is not None
        assert creator.stdin is not None
        assert creator.stdout.readline() == b"ready\n"
        creator.stdin.write(b"go\n")
        creator.stdin.flush()
        CLOCK.sleep(milliseconds / 1000)
        creator.send_signal(signal.SIGKILL)
    listed = project.provider.list("shop")
    if milliseconds % 2:
        machine = project.provider.create(request)
        assert run(machine, "hostname") == "app1"
    elif listed:
        project.provider.terminate(listed[0])
    # The launcher that the creator had started may still be at work: what it makes is found and ended like the rest.
    deadline = CLOCK.monotonic() + 15
    while left := orphans(project):
        assert CLOCK.monotonic() < deadline, left
        project.destroy()
        CLOCK.sleep(0.1)


def orphans(project: Project) -> list[str]:
    """What is left behind, but for half a file: a creator that is killed in its very first write leaves one."""
    return [path for path in leftovers(project) if not path.endswith(".json.tmp")]


def test_sandboxes_outlive_the_process_that_made_them(project: Project) -> None:
    request = project.request("app1")
    command = [sys.executable, "-c", textwrap.dedent(CREATE), str(project.state), request.token]
    subprocess.run(command, input=b"go\n", check=True, stdout=subprocess.DEVNULL)
    found = project.provider.find(request.token)
    assert found is not None
    assert run(found, "hostname") == "app1"


# ------------------------------------------------------------------------------------------------ its disk


def test_a_disk_has_a_size_and_keeps_its_files(project: Project) -> None:
    (machine,) = project.create("app1", disk="64m")
    assert int(run(machine, "df --output=size / | tail -1")) < 64 << 10
    said = run(machine, "dd if=/dev/zero of=/srv/big bs=1M count=100 2>&1; true")
    assert "No space left on device" in said
    image = project.state / "machines" / machine.token / "disk.img"
    assert image.stat().st_blocks * 512 < 70 << 20
    run(machine, "rm /srv/big; echo kept > /srv/note")
    again = project.provider.start(project.provider.stop(machine))
    assert run(again, "cat /srv/note") == "kept"
    assert run(project.provider.reboot(again), "cat /srv/note") == "kept"
    assert [str(image)] == [text.strip() for text in disks(project)], "one sandbox, one loop device"
    project.destroy()
    assert leftovers(project) == []
    assert list(project.state.glob("blank-*")) == []


def test_without_loop_devices_a_disk_has_no_size_and_that_is_said(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "CONTROL", "/dev/no-loop-control")
    project.provider.check()
    assert "No such file" in project.provider.unbounded
    with pytest.raises(CapabilityError, match="cannot limit a sandbox's disk"):
        project.create("app1", disk="64m")
    project.provider.terminate(project.provider.list("shop")[0])
    (machine,) = project.create("app1")
    assert run(machine, "hostname") == "app1"
    # A later version of the machine may have them: what was made without goes on without.
    monkeypatch.undo()
    again = SandboxProvider(project.state, CLOCK)
    assert run(again.start(again.stop(machine)), "hostname") == "app1"


def test_hardly_any_free_space_starts_no_sandbox(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500m", "none", str(small)], check=True)
    try:
        project = Project(small)
        with pytest.raises(ProviderError, match=r"only 0\.5 GiB are free .*; below 1 GiB no sandbox is started"):
            project.create("app1")
        project.destroy()
        assert leftovers(project) == [f"none {small} tmpfs rw,relatime,size=512000k 0 0"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


# ------------------------------------------------------------------------------------------------ the system


@pytest.mark.parametrize("control", ["/dev/loop-control", "/dev/no-loop-control"])
def test_a_file_system_that_cannot_hold_an_upper_layer_is_replaced_by_an_image_or_memory(
    project: Project, monkeypatch: pytest.MonkeyPatch, control: str
) -> None:
    monkeypatch.setattr(images, "CONTROL", control)
    for name in ("lower", "upper", "work", "inside"):
        (project.root / name).mkdir()
    inside = project.root / "inside"
    options = f"lowerdir={project.root}/lower,upperdir={project.root}/upper,workdir={project.root}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "none", str(inside)], check=True)
    try:
        nested = Project(inside)
        nested.provider.check()
        (machine,) = nested.create("app1")
        again = nested.provider.start(nested.provider.stop(machine))
        assert run(again, "hostname") == "app1"
        nested.destroy()
        assert not (nested.state / "machines").exists()
    finally:
        subprocess.run(["umount", str(inside)], check=True)


def test_without_root_check_says_what_to_do(tmp_path: Path) -> None:
    script = """
        import os, sys
        from pathlib import Path
        from opsflow.clock import SystemClock
        from opsflow.errors import CapabilityError
        from opsflow.providers.compute.sandbox import SandboxProvider
        os.setresuid(65534, 65534, 65534)
        try:
            SandboxProvider(Path(sys.argv[1]), SystemClock()).check()
        except CapabilityError as error:
            print(error.message, "/", error.hint)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "state")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "need root" in said
    assert "provider: static" in said


def test_where_namespaces_are_not_permitted_check_says_so(project: Project) -> None:
    script = """
        import sys
        from pathlib import Path
        from opsflow.clock import SystemClock
        from opsflow.errors import CapabilityError
        from opsflow.providers.compute.sandbox import SandboxProvider
        try:
            SandboxProvider(Path(sys.argv[1]), SystemClock()).check()
        except CapabilityError as error:
            print(error.message, "/", error.hint)
    """
    command = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable, "-c"]
    done = subprocess.run([*command, textwrap.dedent(script), str(project.state)], capture_output=True, text=True)
    assert "unshare" in done.stdout, done.stderr
    assert "--privileged" in done.stdout
    assert leftovers(project) == []


def test_capability_error_is_a_provider_error() -> None:
    assert issubclass(CapabilityError, ProviderError)
