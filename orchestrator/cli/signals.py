"""What signals mean to a command."""

from __future__ import annotations

import asyncio
import signal

from orchestrator.control.interrupts import Interrupts


def end_on_signals(interrupts: Interrupts) -> None:
    """Have Ctrl-C, and SIGTERM, end what the command does."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupts.send, number)


def listen_to_signals(interrupts: Interrupts) -> None:
    """Have Ctrl-C end the run, Ctrl-\\ leave it, and the end of the terminal leave what has started."""
    end_on_signals(interrupts)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGQUIT, interrupts.leave, "left with Ctrl-\\")
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else it is nohup's
        reason = "the terminal was closed"
        loop.add_signal_handler(signal.SIGHUP, interrupts.hang_up, signal.SIGHUP, reason)
