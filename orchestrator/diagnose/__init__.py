"""Why a run failed: a table of what failures look like in logs, and its matcher."""

from orchestrator.diagnose.diagnose import diagnose
from orchestrator.diagnose.model import (
    Diagnosis,
    Evidence,
    Exit,
    Hit,
    Match,
    Place,
    PythonError,
    Source,
)
from orchestrator.diagnose.signature import Kind, Signature
from orchestrator.diagnose.table import SIGNATURES, is_noise

__all__ = [
    "SIGNATURES",
    "Diagnosis",
    "Evidence",
    "Exit",
    "Hit",
    "Kind",
    "Match",
    "Place",
    "PythonError",
    "Signature",
    "Source",
    "diagnose",
    "is_noise",
]
