"""Every inventory format that people have, read into the same hosts."""

from __future__ import annotations

import contextlib
import json
import os
import select
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsflow.errors import ConfigError, ProviderError
from opsflow.providers.compute.static.inventory import Inventory, InventoryError
from opsflow.providers.compute.static.load import load
from opsflow.providers.compute.static.ranges import expand

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKyXtqn1UzGdrG9cJ8B2Ue0yqZqWbX5h5nW1VYwq1L0T"


def inventory(tmp_path: Path, text: str, name: str = "hosts.yml", mode: int = 0o644) -> Inventory:
    file = tmp_path / name
    file.write_text(text)
    file.chmod(mode)
    return load(file)


def refusal(tmp_path: Path, text: str, name: str = "hosts.yml", mode: int = 0o644) -> str:
    with pytest.raises(InventoryError) as refused:
        inventory(tmp_path, text, name, mode)
    assert isinstance(refused.value, ConfigError)
    assert isinstance(refused.value, ProviderError)
    assert str(tmp_path / name) in refused.value.message
    return refused.value.message


# ------------------------------------------------------------------------------------------------ hosts.yml


def test_native_everything(tmp_path: Path) -> None:
    read = inventory(
        tmp_path,
        f"""
        defaults: {{user: admin, key: keys/id, host_keys: accept-new, data: {{site: zurich}}}}
        hosts:
          web[1:2]: {{data: {{role: front}}}}
          db1: {{address: 192.0.2.7, port: 2222, user: root, key: /etc/key, host_key: {KEY}, known_hosts: kh, rack: a1}}
          plain:
        groups:
          web: [web1, web2]
          all-zurich: {{hosts: ["web[1:2]", db1], data: {{site: z2, tier: gold}}}}
        """,
    )
    assert list(read.hosts) == ["web1", "web2", "db1", "plain"]
    db1, web1 = read.hosts["db1"], read.hosts["web1"]
    assert (db1.address, db1.port, db1.user, db1.key) == ("192.0.2.7", 2222, "root", Path("/etc/key"))
    assert db1.host_keys == (KEY,)
    assert db1.known_hosts == tmp_path / "kh"
    assert db1.data == {"site": "z2", "tier": "gold", "rack": "a1"}
    assert (web1.address, web1.port, web1.user, web1.key) == ("web1", None, "admin", tmp_path / "keys/id")
    assert web1.policy == "accept-new"
    assert web1.groups == ("web", "all-zurich")
    assert web1.data == {"site": "z2", "tier": "gold", "role": "front"}
    assert read.hosts["plain"].data == {"site": "zurich"}


def test_native_json_list_as_other_programs_write_it(tmp_path: Path) -> None:
    document = {
        "dir": "/tmp/x",
        "known_hosts": "/tmp/x/known_hosts",
        "key": "/tmp/x/id",
        "hosts": [{"name": "h0001", "address": "127.0.0.2", "port": 2222, "user": "root", "pid": 7, "host_key": KEY}],
    }
    host = inventory(tmp_path, json.dumps(document), "inventory.json").hosts["h0001"]
    assert (host.address, host.port, host.user, host.host_keys) == ("127.0.0.2", 2222, "root", (KEY,))
    assert (host.key, host.known_hosts) == (Path("/tmp/x/id"), Path("/tmp/x/known_hosts"))
    assert host.data == {"pid": 7}


def test_an_empty_inventory_has_no_hosts(tmp_path: Path) -> None:
    assert inventory(tmp_path, "").hosts == {}
    assert inventory(tmp_path, "hosts: {}").hosts == {}
    assert inventory(tmp_path, "all: {hosts: {}}").hosts == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hosts: {web1: {adress: 1.2.3.4}}", "Did you mean 'address'?"),
        ("hosts: {web1: {port: 99999}}", "hosts/web1/port"),
        ("hosts: {web1: {port: ssh}}", "hosts/web1/port"),
        ("hosts: {web1: {host_keys: yes-please}}", "hosts/web1/policy"),
        ("hosts: {web1: {address: 'a b; rm -rf'}}", "hosts/web1/address"),
        ("hosts: {web1: {user: '-oProxyCommand=x'}}", "hosts/web1/user"),
        ("hosts: {web1: 7}", "hosts/web1: should be a mapping"),
        ("hosts: 7", "should map host names"),
        ("hosts: [{address: x}]", "has no name"),
        ("hosts: {web1: {}, web1: {}}", "'web1' is written twice"),
        ("hosts: {'web[1:2]': {}, web2: {}}", "hosts/web2: the host is written twice"),
        ("hosts: {'web[2:1]': {}}", "runs backwards"),
        ("hosts: {'web[x': {}}", "a range that is not one"),
        ("hosts: {}\ngroups: {web: [web1]}", "there is no host 'web1'"),
        ("hosts: {}\nhost: {}", "unknown key"),
        ("defaults: {users: x}\nhosts: {}", "Did you mean 'user'?"),
        ("hosts: {web1: !!python/object:os.system {}}", "python/object"),
        ("hosts: [", "hosts.yml:2:1"),
        ("a: &a [*a]", "should be a mapping"),
        ("[" * 5000, "hosts.yml"),
    ],
)
def test_native_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text)


def test_errors_have_the_line_and_a_caret(tmp_path: Path) -> None:
    message = refusal(tmp_path, "hosts:\n  web1: {}\n  web1: {}\n")
    assert "hosts.yml:3:3" in message
    assert "    web1: {}\n      ^" in message


def test_a_missing_inventory_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="there is no such inventory"):
        load(tmp_path / "hosts.yml")
    with pytest.raises(InventoryError, match="is a directory"):
        load(tmp_path)


def test_text_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_bytes("hosts: {wéb: {}}".encode("utf-16"))
    with pytest.raises(InventoryError, match="not UTF-8"):
        load(tmp_path / "hosts.yml")


def test_an_unknown_host_is_guessed(tmp_path: Path) -> None:
    read = inventory(tmp_path, "hosts: {web1: {}, web2: {}, db: {}}")
    with pytest.raises(ProviderError, match="no host 'wbe1'; did you mean 'web1'"):
        read.host("wbe1")


# ------------------------------------------------------------------------------------------------ Ansible

INI = """
# machines
mail.example.com ansible_port=5309

[web]
web[01:02].example.com http_port=80 tags="['a', 'b']"   # first ones
jump ansible_host=192.0.2.50 ansible_user=deploy ansible_ssh_private_key_file=keys/jump

[db]
db-[a:b]:2200
[2001:db8::1]:2022

[prod:children]
web
db

[prod:vars]
ansible_user = admin
tier=gold
"""


def test_ansible_ini(tmp_path: Path) -> None:
    read = inventory(tmp_path, INI, "hosts.ini")
    assert list(read.hosts) == [
        "mail.example.com",
        "web01.example.com",
        "web02.example.com",
        "jump",
        "db-a",
        "db-b",
        "2001:db8::1",
    ]
    web, jump, db = read.hosts["web02.example.com"], read.hosts["jump"], read.hosts["db-a"]
    assert read.hosts["mail.example.com"].port == 5309
    assert read.hosts["mail.example.com"].user is None
    assert web.data == {"tier": "gold", "http_port": 80, "tags": ["a", "b"]}
    assert set(web.groups) == {"web", "prod"}
    assert web.user == "admin"
    assert (jump.address, jump.user, jump.key) == ("192.0.2.50", "deploy", tmp_path / "keys/jump")
    assert (db.address, db.port) == ("db-a", 2200)
    assert (read.hosts["2001:db8::1"].address, read.hosts["2001:db8::1"].port) == ("2001:db8::1", 2022)


def test_ansible_ini_without_an_ending(tmp_path: Path) -> None:
    assert list(inventory(tmp_path, "[web]\nweb1\n", "hosts", mode=0o755).hosts) == ["web1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[web:var]\nx=1", "is not a section"),
        ("[]\nx", "is not a section"),
        ("[web:vars]\nx", "write name=value"),
        ("web1 port", "write name=value"),
        ("web1 x='open", "hosts.ini:1"),
        ("web[3:1]", "runs backwards"),
        ("[a:children]\nb\n[b:children]\na\n[b]\nweb1", "contain each other"),
    ],
)
def test_ansible_ini_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text, "hosts.ini")


YAML = """
all:
  vars: {ansible_user: admin, level: all}
  hosts: {lonely: {}}
  children:
    web:
      hosts:
        web[1:2]: {ansible_host: 192.0.2.1, level: host}
        web3:
      vars: {level: web}
    prod:
      children: {web: {}}
      vars: {level: prod, zone: a}
"""


def test_ansible_yaml_precedence(tmp_path: Path) -> None:
    (tmp_path / "group_vars/web").mkdir(parents=True)
    (tmp_path / "group_vars/web/main.yml").write_text("from_file: web\nzone: b")
    (tmp_path / "group_vars/all.yml").write_text("from_file: all\nzone: c")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/web2.yml").write_text("level: file\nansible_port: 2200")
    read = inventory(tmp_path, YAML)
    levels = {name: host.data["level"] for name, host in read.hosts.items()}
    assert levels == {"lonely": "all", "web1": "host", "web2": "file", "web3": "web"}
    web3 = read.hosts["web3"]
    assert web3.data == {"level": "web", "zone": "b", "from_file": "web"}
    assert web3.user == "admin"
    assert set(web3.groups) == {"web", "prod"}
    assert (read.hosts["web2"].port, read.hosts["web2"].address) == (2200, "192.0.2.1")


def test_ansible_yaml_mistakes_are_named(tmp_path: Path) -> None:
    assert "A group has hosts, children and vars" in refusal(tmp_path, "web: {host: {web1: {}}}")
    assert "vault-encrypted" in refusal(tmp_path, "all: {vars: {x: !vault 'abc'}}")
    assert "should be a mapping" in refusal(tmp_path, "web: {hosts: [web1]}")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ("ansible_connection=local", "not reached over SSH"),
        ("ansible_password=x", "keys only"),
        ("ansible_ssh_common_args='-J bastion'", "jump host"),
        ("ansible_host='{{ lookup(x) }}'", "is a template"),
    ],
)
def test_a_host_that_cannot_be_used_does_not_spoil_the_others(tmp_path: Path, variables: str, said: str) -> None:
    read = inventory(tmp_path, f"odd {variables}\ngood\n", "hosts.ini")
    assert read.host("good").address == "good"
    with pytest.raises(ProviderError, match=said):
        read.host("odd")


# ------------------------------------------------------------------------------------------------ programs

LISTING = {
    "web": {"hosts": ["web1", "web2"], "vars": {"tier": "gold"}, "children": ["canary"]},
    "canary": ["web3"],
    "_meta": {"hostvars": {"web1": {"ansible_host": "192.0.2.1", "ansible_port": 2222}}},
}


def test_an_executable_that_prints_a_listing(tmp_path: Path) -> None:
    script = f"#!/bin/sh\ntest $1 = --list && cat <<'E'\n{json.dumps(LISTING)}\nE\n"
    read = inventory(tmp_path, script, "hosts.sh", mode=0o755)
    assert list(read.hosts) == ["web1", "web2", "web3"]
    assert (read.hosts["web1"].address, read.hosts["web1"].port) == ("192.0.2.1", 2222)
    assert read.hosts["web3"].data == {"tier": "gold"}
    assert set(read.hosts["web3"].groups) == {"web", "canary"}


def test_an_executable_without_meta_is_asked_for_each_host(tmp_path: Path) -> None:
    script = """#!/bin/sh
case $1 in --list) echo '{"web": ["web1"]}';; --host) echo "{\\"ansible_user\\": \\"of-$2\\"}";; esac
"""
    assert inventory(tmp_path, script, "hosts.sh", mode=0o755).hosts["web1"].user == "of-web1"


def test_a_listing_kept_in_a_file(tmp_path: Path) -> None:
    assert list(inventory(tmp_path, json.dumps(LISTING), "dump.json").hosts) == ["web1", "web2", "web3"]


def test_programs_do_not_see_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter22")
    script = (
        '#!/bin/sh\nprintf \'{"g": {"hosts": ["a"], "vars": {"seen": "%s"}}, "_meta": {}}\' "$(env | grep -c AWS)"\n'
    )
    assert inventory(tmp_path, script, "hosts.sh", mode=0o755).hosts["a"].data == {"seen": "0"}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho oops >&2; exit 3", "exit code 3"),
        ("#!/bin/sh\necho hello", "did not print JSON but: hello"),
        ("#!/nonexistent/shell\n", "cannot be run"),
        ("#!/bin/sh\necho '[1]'", "should be a mapping"),
        ("#!/bin/sh\nsleep 60", "did not end within"),
    ],
)
def test_programs_that_fail_are_named(tmp_path: Path, script: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opsflow.providers.compute.static.programs.SECONDS", 0.5)
    assert said in refusal(tmp_path, script, "hosts.sh", mode=0o755)


@pytest.mark.parametrize("end", ["echo '{}'; exit 0", "exit 3", "sleep 60"])
def test_what_a_program_left_behind_is_ended(tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opsflow.providers.compute.static.programs.SECONDS", 0.5)
    script = f"#!/bin/sh\nmkfifo left\n(echo > left; sleep 60) &\necho $! > pid\nread ready < left\n{end}\n"
    with contextlib.suppress(ConfigError):
        inventory(tmp_path, script, "hosts.sh", mode=0o755)
    assert is_over(int((tmp_path / "pid").read_text()))


def is_over(pid: int) -> bool:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(process, "rb"):
        return bool(select.select([process], [], [], 10)[0])


@pytest.mark.parametrize("where", ["1", "2"])
@pytest.mark.parametrize("end", ["", "sleep 60"])
def test_a_program_that_prints_too_much_is_ended(
    tmp_path: Path, where: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opsflow.providers.compute.static.programs.LARGEST", 1000)
    said = refusal(tmp_path, f"#!/bin/sh\nseq 1000 >&{where}\n{end}\n", "hosts.sh", mode=0o755)
    assert "printed more than 1000 bytes and was ended" in said


PYINFRA = """
import os
from helper import DOMAIN
print("this is not part of the answer")
_hidden = ["nobody"]
COUNT = 3
web = [f"web{number}.{DOMAIN}" for number in (1, 2)] + [("web3", {"ssh_hostname": "192.0.2.3", "ssh_port": 2223})]
db = (["db1", "@local"], {"ssh_user": "postgres", "ssh_key": "keys/db", "tags": {"a"}})
names = {"not": "a group"}
"""


def test_pyinfra_inventory(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("DOMAIN = 'example.com'\n")
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data/web.py").write_text("app_user = 'www'\nssh_user = 'deploy'\n")
    (tmp_path / "group_data/all.py").write_text("app_user = 'nobody'\n")
    read = inventory(tmp_path, PYINFRA, "inventory.py")
    assert list(read.hosts) == ["web1.example.com", "web2.example.com", "web3", "db1", "@local"]
    web3, db1 = read.hosts["web3"], read.hosts["db1"]
    assert (web3.address, web3.port, web3.user, web3.groups) == ("192.0.2.3", 2223, "deploy", ("web",))
    assert web3.data == {"app_user": "www"}
    assert (db1.user, db1.key, db1.data) == ("postgres", tmp_path / "keys/db", {"app_user": "nobody", "tags": ["a"]})
    with pytest.raises(ProviderError, match="over SSH only"):
        read.host("@local")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(4)", "exit code 4"),
        ("web = [('a', {'x': object()})]", "data must be plain"),
        ("while True: pass", "did not end within"),
    ],
)
def test_pyinfra_inventories_that_fail(tmp_path: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opsflow.providers.compute.static.programs.SECONDS", 1.5)
    assert said in refusal(tmp_path, text, "inventory.py")


# ------------------------------------------------------------------------------------------------ ranges


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 7), st.sampled_from([1, 2, 3]))
def test_a_numeric_range_means_every_number_once(first: int, length: int, step: int, width: int) -> None:
    start, end = str(first).zfill(width), str(first + length)
    names = expand(f"web[{start}:{end}:{step}].x")
    assert [int(name[3:-2]) for name in names] == list(range(first, first + length + 1, step))
    assert all(len(name) >= len("web.x") + width for name in names)


@given(st.text(alphabet="ab[]:019-.", max_size=20))
def test_any_pattern_is_expanded_or_refused(pattern: str) -> None:
    try:
        names = expand(pattern)
    except ValueError:
        return
    assert names
    assert len(names) == len(set(names)) or "[" in pattern


def test_a_range_is_bounded() -> None:
    with pytest.raises(ValueError, match="more than"):
        expand("web[0:9999][0:9999]")
