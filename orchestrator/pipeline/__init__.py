"""The way of one attempt to its start: connect, rendezvous, plan, upload, checks, prepare."""
