"""The way between nodes: tried with listeners of orch, failures attributed, firewalls opened."""
