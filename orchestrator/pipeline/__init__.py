"""The steps from a request to a started attempt: connect, rendezvous, plan, upload, checks, prepare."""
