"""Recipes of the differential suite: package managers, real ones where this machine has them, else stand-ins."""

from __future__ import annotations

from differential_standins import stand_ins, without_stand_ins
from differential_twins import Case


def told(name: str, programs: tuple[str, ...], body: str, before: str = "", after: str = "") -> Case:
    """A case of stand-ins: on an empty host, on a full one, and on an empty one again."""
    return Case(
        name,
        body,
        drifts=("touch /srv/diff/full", "rm /srv/diff/full; echo x >>/srv/diff/calls"),
        before=f"{stand_ins(*programs)}\n{before}",
        after=f"{without_stand_ins(*programs)}\n{after}",
        real=False,
    )


SYSTEM = told(
    "packages of other systems",
    ("apk", "opkg", "pacman", "pkg", "pkg_info", "pkg_add", "pkg_delete", "pkgin", "xbps-query", "xbps-install",
     "xbps-remove", "brew"),
    """
    from pyinfra.facts.brew import BrewItemKind
    apk.update()
    apk.upgrade()
    apk.upgrade(available=True)
    apk.packages(packages=["here", "new=1.0"], update=True)
    apk.packages(packages="here", present=False)
    apk.packages(packages="here", latest=True)
    opkg.update()
    opkg.packages(packages=["here", "new"])
    opkg.packages(packages=["here"], present=False, update=False)
    pacman.update()
    pacman.upgrade()
    pacman.packages(packages=["here", "new"], upgrade=True)
    pacman.packages(packages=["here"], present=False)
    pkg.packages(packages=["here", "new"], pkg_path="http://mirror.example/", _ignore_errors=True)
    pkg.packages(packages=["here"], present=False, _ignore_errors=True)
    pkgin.update()
    pkgin.upgrade()
    pkgin.packages(packages=["here", "new"], update=True)
    pkgin.packages(packages=["here"], present=False)
    xbps.update()
    xbps.upgrade()
    xbps.packages(packages=["here", "new"])
    xbps.packages(packages=["here"], present=False)
    brew.update()
    brew.upgrade()
    brew.packages(packages=["here", "new"], update=True)
    brew.packages(packages=["here"], present=False)
    brew.packages(packages=["here"], latest=True)
    brew.cask_upgrade()
    brew.casks(casks=["here", "new"])
    brew.casks(casks=["here"], present=False)
    brew.tap(src="here/tap")
    brew.tap(src="new/tap", url="https://taps.example/new", trusted=True)
    brew.trust(items=["here/tap"], kind=BrewItemKind.TAP, trusted=True)
    apk.packages(packages="refuse", _ignore_errors=True)
    """,
)  # fmt: skip

RPM = told(
    "rpm, dnf, yum, zypper",
    ("rpm", "dnf", "yum", "yum-config-manager", "zypper"),
    """
    dnf.key(src="https://keys.example/key")
    dnf.repo(src="here", baseurl="https://repo.example/", description="Here", gpgkey="https://keys.example/key")
    dnf.repo(src="gone", present=False)
    dnf.rpm(src="https://repo.example/new.rpm", _ignore_errors=True)
    dnf.update()
    dnf.packages(packages=["here", "new"], update=True, clean=True, nobest=True, extra_install_args="--x")
    dnf.packages(packages=["here"], present=False)
    dnf.module(module="nodejs", stream="20")
    dnf.module(module="nodejs", enabled=False)
    yum.key(src="https://keys.example/key")
    yum.repo(src="here2", baseurl="https://repo.example/", enabled=False, gpgcheck=False)
    yum.rpm(src="/srv/new.rpm", _ignore_errors=True)
    yum.update()
    yum.packages(packages=["here", "new"])
    yum.packages(packages=["here"], latest=True)
    zypper.repo(src="here3", baseurl="https://repo.example/")
    zypper.rpm(src="/srv/new.rpm", _ignore_errors=True)
    zypper.update()
    zypper.packages(packages=["here", "new"], clean=True)
    zypper.packages(packages=["here"], present=False)
    dnf.packages(packages="refuse", _ignore_errors=True)
    """,
    before="mkdir -p /etc/yum.repos.d /etc/zypp/repos.d; echo x >/etc/yum.repos.d/gone.repo",
    after="rm -rf /etc/yum.repos.d /etc/zypp",
)

LANGUAGES = told(
    "packages of languages",
    ("cargo", "choco", "flatpak", "gem", "go", "npm", "pipx", "snap", "uv"),
    """
    cargo.packages(packages=["here", "new@1.0"])
    cargo.packages(packages=["here"], present=False)
    choco.packages(packages=["here", "new:1.0"])
    choco.install(_ignore_errors=True)
    flatpak.packages(packages=["org.here", "org.new"], remote="flathub")
    flatpak.packages(packages=["org.here"], present=False)
    gem.packages(packages=["here", "new"])
    gem.packages(packages=["here"], present=False)
    gem.packages(packages=["here"], latest=True)
    go.packages(packages=["example.org/new@v1.0"], _ignore_errors=True)
    go.packages(packages=["example.org/here"], present=False, _ignore_errors=True)
    npm.packages(packages=["here", "new@2"])
    npm.packages(packages=["here"], present=False)
    npm.packages(packages=["new"], directory="/srv/diff")
    pipx.packages(packages=["here", "new"])
    pipx.packages(packages=["here"], present=False)
    pipx.upgrade_all()
    pipx.ensure_path()
    snap.package(packages=["here", "new"], channel="latest/edge", classic=True)
    snap.package(packages=["here"], present=False)
    uv.packages(["here", "new"])
    uv.packages(["here"], present=False)
    uv.packages([], requirements="/srv/diff/requirements.txt", latest=True)
    uv.pythons(["3.12", "3.13"])
    uv.tools(["here", "new"], extra_args="--x")
    uv.tools(["here"], present=False)
    uv.tools_upgrade_all()
    uv.tools_update_shell()
    uv.venv("/srv/diff/venv", python="3.12", seed=True)
    uv.venv("/srv/diff/novenv", present=False)
    gem.packages(packages="refuse", _ignore_errors=True)
    """,
)

APT_REPOSITORY = """
mkdir -p /srv/repo /etc/apt.diff; mv /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt.diff/ 2>/dev/null
mkdir -p /etc/apt/sources.list.d
for v in 1.0 2.0; do
  rm -rf /srv/build; mkdir -p /srv/build/DEBIAN /srv/build/usr/share/difftool
  printf '%s\\n' 'Package: difftool' "Version: $v" 'Architecture: all' 'Maintainer: Nobody <n@example.org>' \
    'Description: A test' >/srv/build/DEBIAN/control
  echo $v >/srv/build/usr/share/difftool/version
  find /srv/build -exec touch -d @1600000000 {} +
  SOURCE_DATE_EPOCH=1600000000 dpkg-deb -b --root-owner-group /srv/build /srv/repo/difftool_$v.deb >/dev/null
done
rm -rf /srv/build
cd /srv/repo && mv difftool_2.0.deb later.deb.not && dpkg-scanpackages . >Packages 2>/dev/null
touch -d @1600000000 /srv/repo/*
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list
apt-get update >/dev/null 2>&1
"""
APT_AWAY = """
dpkg --purge difftool >/dev/null 2>&1
rm -rf /srv/repo /etc/apt/sources.list /etc/apt/sources.list.d /usr/share/difftool
mv /etc/apt.diff/* /etc/apt/ 2>/dev/null; rm -rf /etc/apt.diff /etc/apt/keyrings/diff* /etc/apt/trusted.gpg.d/diff*
"""

APT = Case(
    "apt with a repository on the host",
    """
    apt.repo(src="deb [trusted=yes] file:/srv/repo ./", filename="diff")
    apt.repo(src="deb http://nowhere.example/ gone main", present=False)
    apt.sources_file(filename="diff-more", uris="file:/srv/repo", suites="./", components=[], _ignore_errors=True)
    apt.sources_file(filename="diff-gone", present=False, _ignore_errors=True)
    apt.update(cache_time=3600)
    apt.packages(packages=["difftool"])
    apt.packages(packages=["bash", "coreutils"])
    apt.packages(packages=["no-such-package-opsflow"], present=False)
    apt.packages(packages=["no-such-package-opsflow"], _ignore_errors=True)
    apt.packages(packages=["bash=0.0"], _ignore_errors=True)
    apt.deb(src="/srv/repo/difftool_1.0.deb")
    server.packages(packages=["difftool"])
    apt.packages(packages=["difftool"], latest=True, no_recommends=True)
    """,
    drifts=(
        "dpkg --purge difftool >/dev/null; rm -f /etc/apt/sources.list.d/diff.list",
        "cd /srv/repo; mv later.deb.not difftool_2.0.deb; dpkg-scanpackages . >Packages; apt-get update",
    ),
    before=APT_REPOSITORY,
    after=APT_AWAY,
)

APT_UPGRADES = Case(
    "apt upgrades and removals",
    """
    apt.packages(packages=["difftool=1.0"])
    apt.update()
    apt.upgrade()
    apt.dist_upgrade(auto_remove=False)
    apt.packages(packages=["difftool"], present=False, purge=True)
    apt.deb(src="/srv/repo/difftool_1.0.deb")
    apt.deb(src="/srv/repo/difftool_1.0.deb", present=False)
    apt.ppa(src="ppa:nobody/diff")
    """,
    before=f"{APT_REPOSITORY}\n{stand_ins('add-apt-repository')}",
    drifts=("dpkg -i /srv/repo/difftool_1.0.deb",),
    after=f"{APT_AWAY}\n{without_stand_ins('add-apt-repository')}",
)

PIP = Case(
    "pip without a network",
    """
    files.put(src="diffwheel-1.0-py3-none-any.whl", dest="/srv/diff/wheels/diffwheel-1.0-py3-none-any.whl")
    files.put(src="requirements.txt", dest="/srv/diff/requirements.txt")
    pip.venv(path="/srv/diff/venv", python="/usr/bin/python3")
    pip.virtualenv(path="/srv/diff/venv2", venv=True, python="/usr/bin/python3", present=False)
    pip.packages(packages=["diffwheel"], virtualenv="/srv/diff/venv", extra_install_args=ARGS)
    pip.packages(packages=["diffwheel==1.0"], virtualenv="/srv/diff/venv", extra_install_args=ARGS)
    pip.packages(requirements="/srv/diff/requirements.txt", virtualenv="/srv/diff/venv", extra_install_args=ARGS)
    pip.packages(packages=["nothing-of-that-name"], virtualenv="/srv/diff/venv", extra_install_args=ARGS,
                 _ignore_errors=True)
    """.replace("ARGS", "'--no-index --no-compile --find-links /srv/diff/wheels'"),
    drifts=("/srv/diff/venv/bin/pip uninstall -qy diffwheel; rm /srv/diff/wheels/*; chmod 600 /srv/diff/req*",),
)

CASES = [SYSTEM, RPM, LANGUAGES, APT, APT_UPGRADES, PIP]
