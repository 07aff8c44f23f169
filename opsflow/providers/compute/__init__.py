"""Machine sources: one file each."""
