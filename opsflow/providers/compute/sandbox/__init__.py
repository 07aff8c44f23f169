"""Machines on this machine: Linux namespaces, a copy-on-write root and a real sshd on a loopback address."""
