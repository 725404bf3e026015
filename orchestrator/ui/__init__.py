"""Show what happens to a person (text), to a program (JSON), or as it is (raw)."""
