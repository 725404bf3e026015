"""The training itself: numbers that are not finite, runs that go on, but not as wished."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="training.nan",
        meaning="the loss is not a number",
        patterns=(
            r"[Ll]oss\w{0,40}\W{1,5}(?:tensor\()?-?nan\b",
            r"[Ll]oss\w{0,40}\W{1,5}(?:tensor\()?-?NaN\b",
            r"\b(?:grad_norm)\W{1,5}nan\b",  # a group: so it is `nan` that is looked for first
        ),
        cause="the training diverged: learning rate too high, no warm-up, or fp16 overflowed",
        fix="a lower learning rate with warm-up, gradient clipping, bf16, or loss scaling",
        kind=Kind.HINT,
    ),
    Signature(
        id="training.loss-scale",
        meaning="the gradients overflowed until the loss scale was at its minimum",
        patterns=(r"Current loss scale already at minimum",),
        cause="the loss or its gradients are not finite: fp16 has not the range, or the training diverged",
        fix="bf16 where the GPU has it; a lower learning rate with warm-up; look for bad data",
    ),
    Signature(
        id="training.member-missing",
        meaning="ranks wait for others to join",
        patterns=(
            r"Initializing distributed: GLOBAL_RANK: (?P<rank>\d{1,9}), MEMBER: \d+/(?P<size>\d{1,9})",
        ),
        cause="not all of the {size} members came",
        fix="look at the nodes whose ranks printed nothing",
        kind=Kind.HINT,
    ),
)
