"""The use cases of orch, for the command line and for programs: one per file, and none prints."""
