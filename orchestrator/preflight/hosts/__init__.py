"""SSH and the hosts: reached, clean, and who they seem to be."""
