"""The agent: a process that keeps one engine, with its connections and plans, for the next calls of opsflow."""
