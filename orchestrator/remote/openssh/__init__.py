"""OpenSSH's own client as a transport: one master to each node, and every command a session of it."""
