"""One file over HTTP into a partial file: tries again, resumes where safe, checks the length."""

import http.client
import json
import re
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from amflow_mm.errors import WeightsError
from amflow_mm.progress import ProgressBar

ATTEMPTS = 4
"""Connections in a row that bring nothing new before the fetch is given up."""

PAUSE_SECONDS = 1.0
"""Before the second attempt; it doubles with each further one."""

TIMEOUT_SECONDS = 30.0
BLOCK_BYTES = 1 << 20
MEGABYTE = 1_000_000
RETRIED_STATUSES = (408, 416, 425, 429)
"""Besides those of 500 and above: too slow, wrong range, too early, too many requests."""


@dataclass(frozen=True)
class PartialNote:
    """What is known of a partial file; stands beside it and outlives the process.

    Args:
        url: Where it comes from.
        etag: The server's name for this version of the file.
        length: Bytes of the whole file.
    """

    url: str
    etag: str | None
    length: int | None


class _HttpRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http(s) only, and none that gives encryption up."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """Return the request that follows; urllib itself refuses all but http, https and ftp."""
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before == "https" and after == "http"):
            fp.close()
            raise WeightsError(f"the server redirects from {before} to {after}, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def transfer(url: str, part: Path, *, has_checksum: bool) -> None:
    """Fill a partial file until it is whole; bytes of an earlier call are kept where safe.

    Args:
        url: Address with http or https.
        part: The partial file; it stays when the transfer fails.
        has_checksum: Whether the caller can notice a file put together from two versions.

    Raises:
        WeightsError: The server refuses, or breaks off again and again; the message has the
            reason only.
    """
    best = failures = 0
    while True:
        try:
            _attempt(url, part, has_checksum=has_checksum)
            return
        except (OSError, http.client.HTTPException) as error:
            size = part.stat().st_size if part.is_file() else 0
            failures = 1 if size > best else failures + 1
            best = max(best, size)
            if failures >= ATTEMPTS or not _may_pass(error):
                raise WeightsError(_reason(error)) from error
            sys.stderr.write(f"fetching {part.stem}: {_reason(error)}; trying again\n")
            time.sleep(PAUSE_SECONDS * 2 ** (failures - 1))


def discard(part: Path) -> None:
    """Remove a partial file and its note."""
    part.unlink(missing_ok=True)
    _note_path(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path, *, has_checksum: bool) -> None:
    """Open one connection and take what it gives."""
    kept, note = _kept(url, part, has_checksum=has_checksum)
    if note is not None and kept == note.length:
        return
    headers = {"User-Agent": "amflow-mm", "Accept-Encoding": "identity"}
    if kept:
        headers["Range"] = f"bytes={kept}-"
    try:
        response = _opener().open(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            discard(part)
        raise
    with response:
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            if not _continues(response, kept, note):
                discard(part)
                raise ConnectionError("the file has changed on the server since it was begun")
        else:
            kept, note = 0, _describe(response, url, has_checksum=has_checksum)
            discard(part)
            _note_path(part).write_text(json.dumps(asdict(note)), encoding="utf-8")
        _copy(response, part, kept, note.length)


def _kept(url: str, part: Path, *, has_checksum: bool) -> tuple[int, PartialNote | None]:
    """Return the bytes that may be gone on from, and their note."""
    try:
        note = PartialNote(**json.loads(_note_path(part).read_text(encoding="utf-8")))
        size = part.stat().st_size
    except (FileNotFoundError, TypeError, ValueError):  # none, or a note that was cut off
        return 0, None
    # A weak tag (W/) names the meaning of a file, not its bytes.
    is_named = note.etag is not None and not note.etag.startswith("W/")
    is_safe = note.url == url and note.length is not None and (has_checksum or is_named)
    return (size, note) if is_safe and 0 < size <= note.length else (0, None)


def _continues(response: http.client.HTTPResponse, kept: int, note: PartialNote | None) -> bool:
    """Tell whether a part of a file goes on exactly where ours ends."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return (
        note is not None
        and found is not None
        and (int(found[1]), int(found[2])) == (kept, note.length)
        and response.headers.get("ETag") == note.etag
    )


def _describe(response: http.client.HTTPResponse, url: str, *, has_checksum: bool) -> PartialNote:
    """Note what the server says of a whole file.

    Raises:
        WeightsError: It is no file as it is on the server, or its end could not be told.
    """
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise WeightsError(f"the server packs the file as {headers['Content-Encoding']!r}")
    if headers.get_content_type() == "text/html":
        raise WeightsError("the server sends a web page instead of the file")
    if response.length is None and not response.chunked and not has_checksum:
        raise WeightsError(
            "the server tells no length and no checksum is known, so a broken download could not "
            "be told from a whole one"
        )
    return PartialNote(url=url, etag=headers.get("ETag"), length=response.length)


def _copy(response: http.client.HTTPResponse, part: Path, kept: int, length: int | None) -> None:
    """Append the body to the partial file and show progress.

    Raises:
        WeightsError: The disk is full.
        ConnectionError: The body ends early.
    """
    if length is not None and length - kept > (free := shutil.disk_usage(part.parent).free):
        raise WeightsError(
            f"{(length - kept) / 1e6:.0f} MB are missing, but {part.parent} has {free / 1e6:.0f} "
            "MB free"
        )
    if length is None:
        sys.stderr.write(f"fetching {part.stem}: the server does not tell its size\n")
    total = -(-(length or 0) // MEGABYTE)
    bar = ProgressBar(total, f"fetching {part.stem}, MB", start=min(kept // MEGABYTE, total))
    done = kept
    with open(part, "ab") as file, closing(bar):
        while block := response.read(BLOCK_BYTES):
            _write(file, block)
            done += len(block)
            shown = total if done == length else done // MEGABYTE
            if total and shown > bar.done:
                bar.advance(shown - bar.done)
    if length is not None and done != length:
        raise ConnectionError(f"the connection broke after {done} of {length} bytes")


def _write(file: BinaryIO, block: bytes) -> None:
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise WeightsError(f"{file.name} cannot be written: {error.strerror}") from error


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens http(s) addresses and, unlike urllib's default, no others."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _HttpRedirects(),
    ):
        opener.add_handler(handler)
    return opener


def _may_pass(error: Exception) -> bool:
    """Tell whether another attempt may fare better."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR or error.code in RETRIED_STATUSES
    is_untrusted = isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError)
    return not (is_untrusted or isinstance(error, http.client.InvalidURL))


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection broke after {len(error.partial)} bytes of a block"
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(reason).__name__


def _note_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
