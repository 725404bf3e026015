"""Diagnose why a run failed: a table of what failures look like in logs, and its matcher.

It reads text and nothing else, and needs no other package:

    >>> from orchestrator.diagnose import diagnose_text
    >>> verdict = diagnose_text("RuntimeError: CUDA error: invalid device ordinal").verdict
    >>> verdict.signature.id, verdict.certainty.value
    ('cuda.no-device', 'likely')
"""

from orchestrator.diagnose.diagnose import diagnose as diagnose
from orchestrator.diagnose.model import Certainty as Certainty
from orchestrator.diagnose.model import Diagnosis as Diagnosis
from orchestrator.diagnose.model import Evidence as Evidence
from orchestrator.diagnose.model import Exit as Exit
from orchestrator.diagnose.model import Hit as Hit
from orchestrator.diagnose.model import Match as Match
from orchestrator.diagnose.model import Place as Place
from orchestrator.diagnose.model import PythonError as PythonError
from orchestrator.diagnose.model import Source as Source
from orchestrator.diagnose.plain import diagnose_text as diagnose_text
from orchestrator.diagnose.record import as_json as as_json
from orchestrator.diagnose.signature import Kind as Kind
from orchestrator.diagnose.signature import Signature as Signature
from orchestrator.diagnose.table import SIGNATURES as SIGNATURES
from orchestrator.diagnose.table import is_noise as is_noise
