"""Frozen values: stack, layer, instance, app, command, run."""
