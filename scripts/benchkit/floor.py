"""The minimum with asyncssh: connect to all hosts at once, run one command, print its output.

usage: floor.py LAB_DIRECTORY COMMAND ADDRESS...
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncssh


async def main(lab: str, command: str, addresses: list[str]) -> None:
    """Run it on every host."""
    options: dict[str, Any] = {
        "username": "root",
        "client_keys": [f"{lab}/id_ed25519"],
        "known_hosts": f"{lab}/known_hosts",
        "agent_path": None,
        "config": None,
    }

    async def one(address: str) -> None:
        async with asyncssh.connect(address, **options) as connection:
            done = await connection.run(command, check=True)
            sys.stdout.write(f"{address}: {done.stdout!s}")

    await asyncio.gather(*map(one, addresses))


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
