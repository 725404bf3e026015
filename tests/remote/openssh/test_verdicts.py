"""Verdicts on what ssh printed, for situations that a test cannot bring about on one machine."""

from __future__ import annotations

import pytest

from orchestrator.remote.openssh.verdicts import Failure
from orchestrator.remote.ssh.config import Target

TARGET = Target("node", "10.0.0.2", 22, "me")
GATEWAY = Target("gate", "10.0.0.1", 22, "me")
GREETED = "debug1: Connecting to 10.0.0.2 port 22.\ndebug1: Connection established.\n"
SPOKEN = GREETED + "debug1: Remote protocol version 2.0, remote software version OpenSSH_9.2\n"


@pytest.mark.parametrize(
    ("log", "cause", "containing"),
    [
        ("ssh: connect to host 10.0.0.2 port 22: No route to host\n", "no-route", "no route to"),
        ("ssh: connect to host 10.0.0.2 port 22: Connection timed out\n", "timed-out", "no answer"),
        ("ssh: connect to host 10.0.0.2 port 22: Operation timed out\n", "timed-out", "no answer"),
        ("ssh: Could not resolve hostname node: Name or service not known\n", "name", "resolve"),
        (GREETED + "kex_exchange_identification: read: Connection reset by peer\n"
         "Connection reset by 10.0.0.2 port 22\n", "protocol", "before any SSH greeting"),
        (SPOKEN + "Unable to negotiate with 10.0.0.2 port 22: no matching cipher found. "
         "Their offer: 3des-cbc\n", "protocol", "no matching cipher"),
        (SPOKEN + "Received disconnect from 10.0.0.2 port 22:2: Too many authentication failures\n"
         "Disconnected from 10.0.0.2 port 22\n", "authentication", "Too many"),
        (SPOKEN + "debug1: Server host key: ssh-ed25519 SHA256:abc\n"
         "@@@@ WARNING: REVOKED HOST KEY DETECTED! @@@@\nHost key verification failed.\n",
         "host-key-changed", "is revoked (ssh-ed25519 SHA256:abc)"),
        (SPOKEN + "Authenticated using \"publickey\" with partial success.\n"
         "me@10.0.0.2: Permission denied (keyboard-interactive).\n",
         "authentication", "wants keyboard-interactive besides it"),
        ("/home/me/.ssh/config: line 3: Bad configuration option: foo\n", "protocol", "line 3"),
        ("", "protocol", "it gives no reason"),
    ],
)  # fmt: skip
def test_verdict_names_the_cause(log: str, cause: str, containing: str) -> None:
    verdict = Failure(log, 10.0).verdict("node1", TARGET, None)
    assert (verdict.node, verdict.cause) == ("node1", cause)
    assert containing in verdict.message
    assert verdict.remedy


@pytest.mark.parametrize(
    ("log", "containing"),
    [
        ("", "did not resolve within 10 s"),
        ("debug1: Connecting to 10.0.0.2 port 22.\n", "no answer from 10.0.0.2 within 10 s"),
        (GREETED, "says nothing SSH within 10 s"),
        (SPOKEN, "the SSH handshake with 10.0.0.2 did not end within 10 s"),
        (SPOKEN + "debug1: SSH2_MSG_SERVICE_ACCEPT received\n", "authentication with 10.0.0.2"),
    ],
)
def test_verdict_on_a_timeout_names_the_stage(log: str, containing: str) -> None:
    verdict = Failure(log, 10.0, is_timeout=True).verdict("node1", TARGET, None)
    assert containing in verdict.message


def test_verdict_on_a_gateway_that_does_not_connect_has_its_reason() -> None:
    log = "Stdio forwarding request failed: Session open refused by peer\n"
    log += "kex_exchange_identification: Connection closed by remote host\n"
    log += "Connection closed by UNKNOWN port 65535\n"
    verdict = Failure(log, 10.0).verdict("node1", TARGET, GATEWAY)
    assert "gateway gate cannot connect to 10.0.0.2" in verdict.message
    assert "Session open refused by peer" in verdict.message
    assert "UNKNOWN" not in verdict.message


def test_verdict_shows_remote_text_without_control_characters() -> None:
    log = SPOKEN + "Received disconnect from 10.0.0.2 port 22:2: \x1b]0;pwned\x07 go away\n"
    verdict = Failure(log, 10.0).verdict("node1", TARGET, None)
    assert verdict.message.isprintable()


@pytest.mark.parametrize(
    ("methods", "wants"),
    [
        ("publickey", False),
        ("publickey,gssapi-with-mic", False),
        ("publickey,password", True),
        ("keyboard-interactive", True),
    ],
)
def test_a_person_is_wanted_where_a_password_or_code_is_accepted(methods: str, wants: bool) -> None:
    log = f"me@10.0.0.2: Permission denied ({methods}).\r\n".replace("\r", "")
    assert Failure(log, 10.0).wants_a_person is wants
