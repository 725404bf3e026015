"""SSH and the hosts: reachable, silent at login, distinct machines, with names that resolve."""
