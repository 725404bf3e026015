"""A run on disk: folder, record, lock, registry, stop request, and its background controller."""
