"""Install a package that adds a transport, as pip would, into a folder of packages."""

from __future__ import annotations

from pathlib import Path

SHELL = '''
from orchestrator.remote.base import Capabilities, Transport
from orchestrator.remote.process import ProcessNode

class ShellTransport(Transport):
    """Each host is this machine: its scripts are run by /bin/sh."""

    name = "shell"
    capabilities = Capabilities({capabilities})

    async def connect_all(self, hosts, *, on_result=None):
        nodes = [ProcessNode(host, lambda script: ["/bin/sh", "-c", script]) for host in hosts]
        for node in nodes:
            if on_result is not None:
                on_result(node.name, node, 0.0)
        return nodes
'''


def install(
    folder: Path, source: str, *, name: str = "shell", attribute: str = "ShellTransport"
) -> Path:
    """Install a package with this transport below `folder`, which must be in Python's path."""
    module = f"orch_{name}"
    information = folder / f"{module}-1.5.dist-info"
    information.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.5\n")
    (information / "entry_points.txt").write_text(
        f"[orch.transports]\n{name} = {module}:{attribute}\n"
    )
    return folder


def install_shell(folder: Path, capabilities: str = "") -> Path:
    """Install the transport `shell` with the given capabilities."""
    return install(folder, SHELL.replace("{capabilities}", capabilities))
