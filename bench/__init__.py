"""opsflow beside its peers on the same real SSH hosts: ``python -m bench``; see README.md."""
