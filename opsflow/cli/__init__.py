"""The command line: one file a noun; prints, decides nothing."""
