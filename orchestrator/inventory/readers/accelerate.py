"""Accelerate's configuration: it names no hosts, and is refused with what does."""

from __future__ import annotations

import re

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Inventory
from orchestrator.inventory.readers.base import Reader, Source
from orchestrator.util.text import escaped

_TYPE = re.compile(rb"""^[{ \t]*["']?distributed_type["']?[ \t]*:""", re.MULTILINE)
_OTHER = re.compile(
    rb"""^[{ \t]*["']?(?:compute_environment|num_processes|machine_rank)["']?[ \t]*:""",
    re.MULTILINE,
)
_HOSTFILE = re.compile(rb"""["']?deepspeed_hostfile["']?[ \t]*:[ \t]*["']?([^\s"',#}]+)""")


class AccelerateReader(Reader):
    """Recognises `default_config.yaml` of Accelerate."""

    name = "accelerate-config"
    help = "a configuration of Accelerate"
    is_data_only = True

    def recognises(self, source: Source) -> bool:
        return _TYPE.search(source.head) is not None and _OTHER.search(source.head) is not None

    def read(self, source: Source) -> Inventory:
        hostfile = _HOSTFILE.search(source.head)
        remedy = "`orch init HOST...` writes an inventory of the machines, for -i hosts.yaml"
        if hostfile is not None and hostfile[1] not in (b"null", b"~", b"none"):
            remedy = (
                f"-i {escaped(hostfile[1].decode('utf-8', 'replace'))}, the hostfile that it names"
            )
        raise InventoryError(
            f"{source}: a configuration of Accelerate says how many machines there are, and not which",
            remedy=remedy,
        )


READER = AccelerateReader()
