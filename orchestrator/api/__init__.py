"""What a person or a program can do with orch: one use case a file, and none prints."""
