"""Data of different lengths on different ranks, and what follows from it."""

from __future__ import annotations

from orchestrator.diagnose.signature import Signature

SIGNATURES = (
    Signature(
        id="data.lengths-differ",
        meaning="ranks have different amounts of data",
        patterns=(
            r"Detected at least one rank that has exhausted inputs",
            r"\bUneven (?:inputs?|batch(?:es)?) .{0,60}(?:rank|process)",
            r"Tensors must (?:have same number of dimensions|be the same size).{0,60}gather",
        ),
        cause="a rank has fewer batches, or a smaller last batch, than the others",
        fix="use DistributedSampler with drop_last=True (DataLoader: drop_last=True), or DDP's join() "
        "context",
    ),
    Signature(
        id="data.empty",
        meaning="a rank has no data",
        patterns=(
            r"num_samples should be a positive integer value, but got num_samples=0",
            r"\bInstruction \"\w{1,40}\" corresponds to no data",
            r"index \d+ is out of bounds for dimension 0 with size 0",
        ),
        cause="the data set is empty here: its folder does not exist or has no files on this node, or "
        "there are fewer samples than ranks",
        fix="check the path on this node; copy the data to all nodes, or use shared storage",
        check="shared",
    ),
)
