"""Meanings and actions of Xids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.preflight.gpus.xid import XIDS, Action, explain


@pytest.mark.parametrize(
    ("codes", "action"),
    [
        ((79,), Action.REBOOT),
        ((46, 48, 62, 64, 74, 95, 109, 119, 120, 140, 143, 145, 158), Action.RESET),
        ((63, 92, 94), Action.WATCH),
        ((8, 13, 31, 32, 43, 45, 69), Action.APPLICATION),
        ((14, 38, 106), Action.NOTE),
        ((1, 54, 99999), Action.LOOK),
    ],
)
def test_explain_gives_the_action_of_a_code(codes: tuple[int, ...], action: Action) -> None:
    for code in codes:
        assert explain("Xid", code, "").action is action, code


@pytest.mark.parametrize(
    ("wanted", "action"),
    [
        ("0x2 (Node Reboot Required)", Action.REBOOT),
        ("0x1 (GPU Reset Required)", Action.RESET),
        ("0x4 (Drain and Reset)", Action.RESET),
        ("0x3 (Drain P2P)", Action.WATCH),
        ("0x0 (None)", Action.NOTE),
    ],
)
def test_explain_xid_154_takes_the_action_of_its_text(wanted: str, action: Action) -> None:
    text = f"GPU recovery action changed from 0x2 (Node Reboot Required) to {wanted}"
    assert explain("Xid", 154, text).action is action


def test_explain_nvlink_5_and_sxid_by_whether_they_are_fatal() -> None:
    assert explain("Xid", 149, "NETIR_LINK_EVT   Fatal   XC0").action is Action.RESET
    assert explain("Xid", 145, "RLW_REMAP   Nonfatal   XC1").action is Action.WATCH
    assert explain("SXid", 24007, "Fatal, Link 28 sourcetrack").action is Action.RESET
    assert explain("SXid", 12028, "Non-fatal, Link 32 egress").action is Action.NOTE


def test_weights_of_actions_ascend() -> None:
    weights = [action.weight for action in Action]
    assert weights == sorted(weights)
    assert Action.REBOOT.weight > Action.RESET.weight > Action.WATCH.weight


def test_meanings_are_short() -> None:
    assert all(0 < len(entry.meaning) < 80 for entry in XIDS.values())


@given(st.sampled_from(["Xid", "SXid"]), st.integers(0, 10**6), st.text(max_size=80))
def test_explain_any_code_has_a_meaning(kind: str, code: int, text: str) -> None:
    assert explain(kind, code, text).meaning
