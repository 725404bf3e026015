"""What a program was doing when a collective timed out, from the lines before: saving, validating.

A checkpoint that only some ranks save, and data of different lengths, look the same to NCCL: one rank waits
in a collective that the others never call. The lines before tell them apart.
"""

from __future__ import annotations

import re

from orchestrator.diagnose.signature import Kind, Signature

SAVING = Signature(
    id="hang.saving",
    meaning="a collective timed out while a checkpoint was saved",
    cause="most likely only some ranks save: gathering a sharded model, or its optimizer, is a collective "
    "that all ranks must call",
    fix="call save_state(), save_checkpoint() or state_dict() on all ranks, not under `if rank == 0`; let "
    "rank 0 write the result; for slow storage raise the timeout of init_process_group",
    kind=Kind.SYMPTOM,
    after="a rank that does not save",
)
UNEVEN = Signature(
    id="hang.uneven",
    meaning="a collective timed out at the end of an epoch or of a validation",
    cause="most likely ranks have different numbers of batches: one waits in the next collective, such as "
    "that of a metric, while another one is done",
    fix="give all ranks the same number of batches: DistributedSampler with drop_last=True, no filter that "
    "differs by rank; or reduce metrics after the loop",
    kind=Kind.SYMPTOM,
    after="a rank that has fewer batches",
)
SILENT = Signature(
    id="hang.connected",
    meaning="the output ends when NCCL has connected the GPUs",
    cause="if the job hangs here: GPUs that talk over PCI (P2P) and never get an answer, mostly because "
    "PCI access control (ACS) or an IOMMU is on",
    fix="set NCCL_P2P_DISABLE=1 to see whether it is that; then turn ACS off on the PCI bridges, or boot "
    "with iommu=pt",
    kind=Kind.HINT,
)
PREPARING = Signature(
    id="hang.preparing",
    meaning="ranks gave up waiting while another one prepared the data",
    cause="most likely one rank reads or tokenizes the data set while the others wait for it at a barrier, "
    "and that takes longer than the timeout",
    fix="prepare the data once before the launch (axolotl preprocess, datasets' save_to_disk), or raise "
    "the timeout: init_process_group(timeout=timedelta(hours=2)), ddp_timeout of transformers",
    kind=Kind.SYMPTOM,
    after="a rank that prepares the data",
)
SIGNATURES = (SAVING, UNEVEN, PREPARING, SILENT)

_BEFORE = 16 * 1024  # bytes in which the last stage is looked for
_GATHERS = re.compile(r"OpType=_?(?:ALLGATHER|GATHER|BROADCAST|COALESCED|REDUCE_SCATTER)")
_STAGE = re.compile(
    rb"(?P<saving>\b(?i:sav(?:e|ing)[ _](?:\w+ ){0,3}(?:model|state|checkpoint|optimizer|weights|ckpt))|"
    rb"(?i:saving (?:\w+ ){0,3}to )|\bwriting (?:\w+ ){0,2}checkpoint)|"
    rb"(?P<validating>\b(?i:validat(?:ion|ing)|evaluat(?:ion|ing))\b|\bepoch \d+ (?:done|finished|ended))|"
    rb"(?P<preparing>\b(?:[Tt]okenizing|Running tokenizer|Generating \w{1,40} split|Grouping texts|"
    rb"[Pp]reprocessing|Packing|Map(?: \(num_proc=\d{1,5}\))?:)|\b[Bb]uilding \w{0,20} ?index)|"
    rb"(?P<training>[\"']?[Ll]oss[\"']?\W{1,5}\d)"
)
_WAITS = ("nccl.watchdog", "store.key-missing", "gloo.timed-out")
_CONNECTED = re.compile(rb"Init COMPLETE|Connected all trees")
_PEER = re.compile(rb" via P2P/")
_NCCL = re.compile(rb"NCCL (?:INFO|version)|^\s*$")
_LAST_LINES = 8


def explained(signature: Signature, text: str, lines: bytes, at: int) -> Signature:
    """Return what explains a wait that timed out, if `signature` is one; else itself.

    `text` is its line, which is at `at` in `lines`.
    """
    if signature.id not in _WAITS:
        return signature
    last = None
    for last in _STAGE.finditer(lines, max(0, at - _BEFORE), max(0, at)):  # noqa: B007 - the last one counts
        pass
    if last is None or last["training"]:
        return signature
    if last["preparing"]:
        return PREPARING
    if signature.id != "nccl.watchdog":
        return signature
    if last["saving"]:
        return SAVING if _GATHERS.search(text) else signature
    return UNEVEN


def is_silent(end: bytes) -> bool:
    """Tell whether an output ends with what NCCL prints when it has connected GPUs over PCI."""
    lines = end.rstrip().split(b"\n")
    return (
        _CONNECTED.search(lines[-1]) is not None
        and _PEER.search(end) is not None
        and all(_NCCL.search(line) for line in lines[-_LAST_LINES:])
    )
