"""The training itself: numbers that are not finite, and runs that continue, but not as intended."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="training.nan",
        meaning="the loss is not a number",
        patterns=(
            r"[Ll]oss\w{0,40}\W{1,5}(?:tensor\()?-?nan\b",
            r"[Ll]oss\w{0,40}\W{1,5}(?:tensor\()?-?NaN\b",
            r"\b(?:grad_norm)\W{1,5}nan\b",  # in a group, so that lines are searched for `nan` first
        ),
        cause="the training diverged: learning rate too high, no warm-up, or fp16 overflowed",
        fix="use a lower learning rate with warm-up, gradient clipping, bf16, or loss scaling",
        kind=Kind.HINT,
    ),
    Signature(
        id="training.loss-scale",
        meaning="the gradients overflowed until the loss scale was at its minimum",
        patterns=(r"Current loss scale already at minimum",),
        cause="the loss or its gradients are not finite: fp16 lacks the range, or the training diverged",
        fix="use bf16 if the GPU has it, and a lower learning rate with warm-up; check for bad data",
    ),
    Signature(
        id="training.member-missing",
        meaning="ranks wait for others to join",
        patterns=(
            r"Initializing distributed: GLOBAL_RANK: (?P<rank>\d{1,9}), MEMBER: \d+/(?P<size>\d{1,9})",
        ),
        cause="not all of the {size} members joined",
        fix="check the nodes whose ranks printed nothing",
        kind=Kind.HINT,
    ),
)
