"""The checks that are made before every launch.

They are listed here as well as in `registry`, because importing the others takes longer than these checks.
"""

from __future__ import annotations

from orchestrator.preflight.hosts import names, reached, rsync
from orchestrator.preflight.interfaces import pick
from orchestrator.preflight.limits import clock, storage
from orchestrator.preflight.model import Check
from orchestrator.preflight.reach import neighbours, tcp
from orchestrator.preflight.script import contradictions
from orchestrator.preflight.software import locks, modules, versions

CHECKS: tuple[Check, ...] = (
    reached.check_reach,
    rsync.check_rsync,
    names.check_own_name,
    versions.check_versions,
    modules.check_imports,
    locks.check_locks,
    *contradictions.CHECKS,
    *tcp.CHECKS,
    *neighbours.CHECKS,
    pick.check_pick,
    storage.check_disk,
    clock.check_clock,
)
