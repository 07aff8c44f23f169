"""Schema migrations; the newest one is named in :mod:`opsflow.store.schema`."""
