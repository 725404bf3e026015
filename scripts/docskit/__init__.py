"""What `scripts/docs` writes: one module for each kind of page, named after its source."""
