"""A run on disk: folder, record, lock, registry, stop request, background controller."""
