"""Desired x observed x now to a Plan; rollout batches: pure functions."""
