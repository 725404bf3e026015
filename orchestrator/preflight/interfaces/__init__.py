"""The interfaces that carry the job: which, how large a packet, how fast."""
