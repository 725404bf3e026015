"""The training itself: runs that go on, but not as wished."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="training.nan",
        meaning="the loss is not a number",
        patterns=(
            r"[Ll]oss\w{0,40}\W{1,5}(?:tensor\()?-?nan\b",
            r"[Ll]oss\w{0,40}\W{1,5}(?:tensor\()?-?NaN\b",
        ),
        cause="the training diverged: learning rate too high, no warm-up, or fp16 overflowed",
        fix="a lower learning rate with warm-up, gradient clipping, bf16, or loss scaling",
        kind=Kind.HINT,
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
