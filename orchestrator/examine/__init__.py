"""The use case: why a run failed, or whatever program wrote a log."""

from orchestrator.examine.files import Found, find_logs
from orchestrator.examine.read import Examined, Log, Reading, examine
from orchestrator.examine.run import evidence_of, logs_of

__all__ = [
    "Examined",
    "Found",
    "Log",
    "Reading",
    "evidence_of",
    "examine",
    "find_logs",
    "logs_of",
]
