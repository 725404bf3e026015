"""Reachability between nodes: try it with listeners of orch, attribute failures, open firewalls."""
