"""A web server for tests: files of a folder, parts of them too, and faults on demand."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class RangeServer(ThreadingHTTPServer):
    """Serves a folder under ``url``.

    Args:
        folder: What is served.
        faults: Statuses that the next requests get instead of what they ask for.
        serves_ranges: Whether parts of files are served; else always the whole file.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.faults: list[int] = []
        self.serves_ranges = True
        self.ranges: list[str | None] = []
        self.authorizations: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: RangeServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(has_body=False)

    def do_GET(self):
        self.answer(has_body=True)

    def answer(self, *, has_body):
        if has_body:
            self.server.ranges.append(self.headers["Range"])
            self.server.authorizations.append(self.headers["Authorization"])
        file = self.server.folder / self.path.partition("?")[0].lstrip("/")
        if self.server.faults:
            self.send(self.server.faults.pop(0), b"")
        elif not file.is_file():
            self.send(404, b"")
        else:
            self.send_part(file.read_bytes(), has_body=has_body)

    def send_part(self, data, *, has_body):
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        if not asked or not self.server.serves_ranges:
            self.send(200, data, has_body=has_body)
        elif int(asked[1]) >= len(data):
            self.send(416, b"")
        else:
            self.send(206, data[int(asked[1]) : int(asked[2]) + 1], has_body=has_body)

    def send(self, status, data, *, has_body=True):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes" if self.server.serves_ranges else "none")
        self.end_headers()
        if has_body:
            self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(folder: Path) -> Iterator[RangeServer]:
    """Serve a folder until the block ends."""
    with RangeServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
