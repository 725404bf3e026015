"""Plan what runs where: Inventory + Facts + Job -> Plan, without side effects."""

from orchestrator.plan.facts import Facts, Interface
from orchestrator.plan.job import Elastic, Job
from orchestrator.plan.launchers.base import Process
from orchestrator.plan.network import Network, choose_network
from orchestrator.plan.plan import NodePlan, Plan, make_plan

__all__ = [
    "Elastic",
    "Facts",
    "Interface",
    "Job",
    "Network",
    "NodePlan",
    "Plan",
    "Process",
    "choose_network",
    "make_plan",
]
