"""GPUs: present, healthy, connected, and free."""
