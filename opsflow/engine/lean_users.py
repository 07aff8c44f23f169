"""The users of a host with two processes, where pyinfra starts a dozen for each user.

pyinfra asks `id` and `lastlog` about each name in /etc/passwd. What they say is in the files, provided that the files
are all there is and that they are as such files should be. Whether that is so is found out on the host, in the same
text; where it is not so, or not certain, pyinfra's own loop runs and is as slow as ever:

- users or groups from elsewhere (nsswitch.conf, nscd, a running sssd, records of systemd), or no Linux at all;
- lines in passwd, group or shadow that are not plain, names twice, groups without a name, two names for one number;
- names that mean more than themselves as patterns (`a.b` also finds `axb`), text that is not ASCII or has backslashes,
  over which shells, `grep` and `echo` differ.
"""

from __future__ import annotations

AWK = r"""
function no() { failed = 1; exit 1 }
function alien(list) {
  gsub(/\[(SUCCESS|success)=merge\]/, " ", list)
  sub(/^[ \t]*(sss[ \t]+)*/, "", list)
  if (list !~ /^(files|compat)([ \t]|$)/) return 1
  gsub(/\[[^]]*\]/, " ", list)
  n = split(list, words, " ")
  for (i = 1; i <= n; i++) if (words[i] !~ /^(files|compat|systemd|mymachines|sss)$/) return 1
  return 0
}
function odd(number) { return length(number) > 9 || number ~ /^0./ }
NR == 1 { head = $0 }
/[|\\]/ { no() }
/[A-Z][a-z][a-z] [A-Z][a-z][a-z] +[0-9]/ {
  if (/[^ -~]/) no()
  name = $1; gsub(/ +/, " "); last[name] = $0; dated = 1
}
END {
  if (failed) exit 1
  while ((getline l < "/etc/nsswitch.conf") > 0) {
    sub(/#.*/, "", l)
    if (l !~ /^[ \t]*(passwd|group|initgroups)[ \t]*:/) continue
    db = l; sub(/:.*/, "", db); gsub(/[ \t]/, "", db); sub(/^[^:]*:/, "", l)
    if (db in listed || alien(l)) exit 1
    listed[db]
  }
  while ((getline l < "/etc/group") > 0) {
    if (l !~ /^[A-Za-z_][A-Za-z0-9_.-]*:[^:]*:[0-9]+:[A-Za-z0-9_.,$@+-]*$/ || l ~ /[^ -~]/) exit 1
    split(l, f, ":")
    if (odd(f[3]) || (f[3] in group) || (f[1] in groups)) exit 1
    group[f[3]] = f[1]; groups[f[1]]
    n = split(f[4], of, ",")
    for (i = 1; i <= n; i++) if (of[i] != "" && !((of[i], f[3]) in member)) {
      member[of[i], f[3]]; more[of[i]] = more[of[i]] " " f[1]
    }
  }
  while ((getline l < "/etc/shadow") > 0) {
    if (l ~ /[^ -~]/ || l !~ /:/) exit 1
    split(l, f, ":")
    if (f[1] in password || f[2] ~ /[|\\]/) exit 1
    password[f[1]] = f[2]
  }
  while ((getline l < "/etc/passwd") > 0) {
    if (l ~ /[^ -~]/ || l ~ /\\/) exit 1
    if (l !~ /^[A-Za-z_][A-Za-z0-9_.-]*:[^:]*:[0-9]+:[0-9]+:[^:]*:[^:]*:[^:]*$/) exit 1
    split(l, f, ":")
    if (odd(f[3]) || odd(f[4]) || !(f[4] in group) || (f[1] in main)) exit 1
    if ((dated && (f[3] in uids)) || head ~ ("^" f[1])) exit 1
    uids[f[3]]; main[f[1]] = group[f[4]]
    order[++count] = f[1]; entry[count] = l
  }
  if (!count) exit 1
  for (i = 1; i <= count; i++) if (order[i] ~ /\./) {
    for (name in main) if (name != order[i] && name ~ ("^" order[i] "$")) exit 1
    for (name in password) if (name != order[i] && name ~ ("^" order[i] "$")) exit 1
  }
  for (i = 1; i <= count; i++) {
    name = order[i]
    print entry[i] "|" main[name] "|" main[name] more[name] "|" last[name] "|" password[name]
  }
}
"""
"""Prints what pyinfra's loop prints, from the files and from what `lastlog` says; exit code 1: not certain."""

ELSEWHERE = (
    "/etc/master.passwd",
    "/run/nscd/socket",
    "/var/run/nscd/socket",
    "/var/lib/sss/pipes/nss",
    "/var/lib/sss/mc/passwd",
    "/var/lib/sss/mc/group",
    "/var/lib/sss/mc/initgroups",
    "/var/lib/lastlog/lastlog2.db",
)
"""Files that exist where somebody else may answer."""

RECORDS = "/etc/userdb/* /run/userdb/* /run/host/userdb/* /usr/lib/userdb/* /usr/local/lib/userdb/*"
"""Where systemd takes more users and memberships from."""

HARMLESS = "DynamicUser|NameServiceSwitch|Multiplexer|DropIn|Machine|NamespaceResource"
"""Services of systemd that add no group to a user of the files."""


def users(original: str) -> str:
    """Shell text that prints the users of the host, by ``original`` where their files may not be all there is."""
    tests = " || ".join(f"test -e {path}" for path in ELSEWHERE)
    return f"""if {tests} || command -v lastlogin > /dev/null || {{
  for f in {RECORDS} /run/systemd/userdb/*; do
    case $f in
    */userdb/io.systemd.*) case ${{f##*/io.systemd.}} in {HARMLESS}) ;; *) break ;; esac ;;
    *) ! test -e "$f" || break ;;
    esac
    f=
  done
  test -n "$f"
}} || ! lastlog 2> /dev/null | LC_ALL=C awk '{AWK}'; then
{original}
fi"""
