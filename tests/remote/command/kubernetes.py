"""An API server of Kubernetes, as far as `kubectl exec` needs one: each pod is this machine.

It speaks v5.channel.k8s.io: frames of a WebSocket, whose first byte is the stream.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PROTOCOL = "v5.channel.k8s.io"
_ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255
_PODS = {"name": "pods", "namespaced": True, "kind": "Pod", "verbs": ["get", "list", "create"]}
_DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [_PODS]},
    "/api/v1/namespaces/ml": {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "ml"}},
}


class Cluster:
    """The API server; `pods` are the names of the pods in the namespace `ml`."""

    def __init__(self, *pods: str) -> None:
        self.pods = set(pods)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Cluster:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def write_config(self, path: Path) -> None:
        """Write a configuration of kubectl for this cluster."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
            "current-context": "lab",
        }
        path.write_text(json.dumps(config))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.splitlines()
                headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
                url = urlsplit(first.split()[1])
                if headers.get("upgrade") == "websocket":
                    key = next(
                        line.split(": ")[1] for line in lines if "websocket-key" in line.lower()
                    )
                    await _run(reader, writer, key, parse_qs(url.query)["command"])
                    break
                code, answer = self._answer(url.path)
                body = json.dumps(answer).encode()
                writer.write(
                    f"HTTP/1.1 {code} x\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
        writer.close()

    def _answer(self, path: str) -> tuple[int, dict[str, Any]]:
        if path in _DISCOVERY:
            return 200, _DISCOVERY[path]
        name = path.rpartition("/")[2]
        if path.startswith("/api/v1/namespaces/ml/pods/") and name in self.pods:
            spec = {"containers": [{"name": "main"}]}
            return 200, {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {"name": name, "namespace": "ml"},
                "spec": spec,
                "status": {"phase": "Running"},
            }
        said = f'pods "{name}" not found'
        details = {"name": name, "kind": "pods"}
        return 404, {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": said,
            "reason": "NotFound", "details": details, "code": 404,
        }  # fmt: skip


async def _run(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, command: list[str]
) -> None:
    """Run the command with its streams in the frames of a WebSocket."""
    accept = base64.b64encode(hashlib.sha1((key + _ACCEPT).encode()).digest()).decode()
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {_PROTOCOL}\r\n\r\n".encode()
    )
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )
    assert process.stdin and process.stdout and process.stderr

    async def send(stream: int, source: asyncio.StreamReader) -> None:
        while data := await source.read(30_000):
            writer.write(_frame(stream, data))
            await writer.drain()

    async def receive() -> None:
        assert process.stdin is not None
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while (payload := await _payload(reader)) is not None:
                if payload[:1] == bytes([_CLOSE]):
                    process.stdin.close()
                elif payload[:1] == bytes([_STDIN]) and len(payload) > 1:
                    process.stdin.write(payload[1:])
                    await process.stdin.drain()
        process.stdin.close()

    receiving = asyncio.create_task(receive())
    await asyncio.gather(send(_STDOUT, process.stdout), send(_STDERR, process.stderr))
    code = await process.wait()
    status: dict[str, Any] = {"status": "Success"}
    if code != 0:
        causes = [{"reason": "ExitCode", "message": str(code)}]
        status = {
            "status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes},
            "message": f"command terminated with non-zero exit code: exit status {code}",
        }  # fmt: skip
    with suppress(ConnectionError):
        writer.write(_frame(_ERROR, json.dumps({"metadata": {}, **status}).encode()))
        writer.write(b"\x88\x02\x03\xe8")  # a close frame: 1000
        await writer.drain()
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)


def _frame(stream: int, data: bytes) -> bytes:
    payload = bytes([stream]) + data
    if len(payload) < 126:
        return b"\x82" + bytes([len(payload)]) + payload
    return b"\x82\x7e" + struct.pack(">H", len(payload)) + payload


async def _payload(reader: asyncio.StreamReader) -> bytes | None:
    """Return the payload of the next frame with data, None for a close frame."""
    while True:
        kind, length = await reader.readexactly(2)
        length &= 0x7F
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(await reader.readexactly(size), "big")
        mask = await reader.readexactly(4)
        masked = await reader.readexactly(length)
        if kind & 0x0F == 8:
            return None
        if kind & 0x0F in (0, 2):
            return bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))
