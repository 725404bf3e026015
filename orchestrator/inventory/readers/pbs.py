"""The nodes of a job of PBS or Torque: PBS_NODEFILE has a line for each slot."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.inventory.hostfiles.dialects import SLOT_A_LINE
from orchestrator.inventory.model import Host
from orchestrator.inventory.readers.base import Source
from orchestrator.inventory.readers.hostfile import hosts_in
from orchestrator.inventory.readers.job import JobReader


class PbsReader(JobReader):
    name = "pbs"
    help = "the nodes of a PBS job"
    scheduler = "PBS"
    id_variable = "PBS_JOBID"
    host_variables = ("PBS_NODEFILE",)

    def hosts_in_file(self, source: Source) -> Sequence[Host]:
        return hosts_in(source, SLOT_A_LINE)


READER = PbsReader()
