"""What Ansible itself makes of inventories: a process of Ansible's Python, which reads many of them.

Run with that Python: each line of input is the path of an inventory; each line of output is the JSON of
its hosts with their variables, and of its groups with their hosts, or null if Ansible cannot read it.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.utils.display import Display
from ansible.vars.manager import VariableManager

INTERNAL = ("inventory_file", "inventory_dir", "groups", "omit", "playbook_dir")


def shown(value):
    try:
        return str(value)
    except (AnsibleError, ReferenceError):  # encrypted, and there is no password
        return "Vaulted()"


def listed(path):
    loader = DataLoader()
    manager = InventoryManager(loader, sources=[path])
    variables = VariableManager(loader=loader, inventory=manager)
    if not manager._inventory.processed_sources or manager._inventory.processed_sources == [None]:
        return None
    hosts = {}
    for name, host in manager.hosts.items():
        found = variables.get_vars(host=host, include_hostvars=False, stage="all")
        hosts[name] = {
            key: shown(value)
            for key, value in found.items()
            if key not in INTERNAL
            and not key.startswith(("inventory_hostname", "ansible_version", "ansible_playbook"))
            and key not in ("group_names", "ansible_check_mode", "ansible_diff_mode", "environment")
        }
    groups = {
        name: sorted(host.name for host in group.get_hosts())
        for name, group in manager.groups.items()
    }
    return {"hosts": hosts, "groups": groups}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    Display.verbosity = -1
    for line in sys.stdin:
        path = line.rstrip("\n")
        os.chdir(Path(path).parent)
        try:
            answer = listed(path)
        except Exception as error:
            answer = None
            print(type(error).__name__, error, file=sys.stderr)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


with contextlib.suppress(BrokenPipeError):
    main()
