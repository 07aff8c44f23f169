"""State, runs and journal."""
