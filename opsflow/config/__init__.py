"""YAML files to models, every error with file, line and column."""
