"""Use cases: apply a plan, start, stop, deploy, run, destroy; durable runs."""
