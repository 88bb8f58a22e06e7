"""A loopback HTTP server that misbehaves as told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server serves, and what it has been asked.

    Args:
        body: The file.
        etag: Its tag, or None for no tag.
        honours_range: Whether it serves parts.
        breaks_after: Bytes of the body after which each of the first connections is closed.
        status: Status of each of the first answers, in place of 200 and 206.
        length: How the end is told: a header, chunks, or not at all.
        location: Address to redirect to.
        content_type: Type of the body.
        encoding: How it claims to be packed.
        range_shift: Bytes by which the served part misses the asked one.
        gate: Answers wait for it.
        ranges: The Range header of each request, in order.
    """

    body: bytes
    etag: str | None = '"v1"'
    honours_range: bool = True
    breaks_after: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    length: str = "header"
    location: str | None = None
    content_type: str = "application/octet-stream"
    encoding: str | None = None
    range_shift: int = 0
    gate: threading.Event | None = None
    ranges: list[str | None] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)

    @property
    def num_requests(self) -> int:
        return len(self.ranges)


class _Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def log_message(self, *args) -> None:
        """Keep the test's output clean."""

    def do_GET(self) -> None:
        told = self.behaviour
        told.ranges.append(self.headers.get("Range"))
        told.asked.set()
        if told.gate is not None:
            told.gate.wait(30)
        if told.location is not None and self.path != "/moved":
            self.answer(302, {"Location": told.location})
            return
        if told.status:
            self.answer(told.status.pop(0), {"Content-Length": "0"})
            return
        self.serve_file(told)

    def answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def serve_file(self, told: Behaviour) -> None:
        asked = self.headers.get("Range") if told.honours_range else None
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body, headers = told.body[start:], {"Content-Type": told.content_type}
        if told.etag is not None:
            headers["ETag"] = told.etag
        if told.encoding is not None:
            headers["Content-Encoding"] = told.encoding
        if asked:
            first = start + told.range_shift
            headers["Content-Range"] = f"bytes {first}-{len(told.body) - 1}/{len(told.body)}"
        if told.length == "header":
            headers["Content-Length"] = str(len(body))
        elif told.length == "chunks":
            headers["Transfer-Encoding"] = "chunked"
        self.answer(206 if asked else 200, headers)
        if told.breaks_after:
            body = body[: told.breaks_after.pop(0)]
            self.close_connection = True
            self.wfile.write(body if told.length != "chunks" else b"%x\r\n%b" % (1 << 20, body))
        elif told.length == "chunks":
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        else:
            self.wfile.write(body)


class _ChunkingHandler(_Handler):
    protocol_version = "HTTP/1.1"


@contextmanager
def serve(behaviour: Behaviour) -> Iterator[str]:
    """Serve in a thread; yields the address of the file."""
    base = _ChunkingHandler if behaviour.length == "chunks" else _Handler
    handler = type("Handler", (base,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/folder/weights.pth"
    finally:
        if behaviour.gate is not None:
            behaviour.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
