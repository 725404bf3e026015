"""Host lists of one host a line: their lines, what a line means to each tool, and the hosts that result."""
