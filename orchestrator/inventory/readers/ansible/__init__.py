"""Ansible's inventories: its files, and the output of `ansible-inventory`."""
