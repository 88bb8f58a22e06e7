"""Fetching over HTTP: broken connections, resuming, wrong bytes, several processes, no network."""

import hashlib
import io
import json
import os
import re
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from amflow_mm.errors import UserError, WeightsError
from amflow_mm.models.weights import download, transfer
from amflow_mm.models.weights.download import fetch
from tests.models.weights.file_server import Behaviour, serve

BODY = bytes(range(251)) * 1013
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = bytes(reversed(BODY))
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """No proxy, no pauses, whatever the machine says."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "PAUSE_SECONDS", 0.0)
    for name in ("AMFLOW_MM_OFFLINE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new folder" / "weights.pth"


def leftovers(target: Path) -> set[str]:
    """Everything beside the target but the lock, which filelock may leave."""
    return {p.name for p in target.parent.iterdir()} - {target.name, f"{target.name}.lock"}


def write_part(target, body, note):
    """Leave behind what a killed process has left."""
    target.parent.mkdir(exist_ok=True)
    target.with_name("weights.pth.part").write_bytes(body)
    target.with_name("weights.pth.part.json").write_text(
        note if isinstance(note, str) else json.dumps(note)
    )


# ---------------------------------------------------------------- whole files


@pytest.mark.parametrize("sha256", [SHA256, SHA256.upper(), None])
def test_a_file_arrives_whole_and_alone(target, sha256):
    with serve(Behaviour(BODY)) as url:
        assert fetch(url, target, sha256=sha256) == target
    assert target.read_bytes() == BODY
    assert leftovers(target) == set()


def test_a_file_that_is_there_is_not_asked_for(target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    behaviour = Behaviour(BODY)
    with serve(behaviour) as url:
        fetch(url, target, sha256=SHA256)
    assert behaviour.num_requests == 0
    assert target.read_bytes() == b"mine"


def test_progress_goes_to_stderr(target, capsys):
    with serve(Behaviour(bytes(3_500_000))) as url:
        fetch(url, target, sha256=None)
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert re.fullmatch(r"fetching weights.pth, MB: 1/4, \d+:\d\d left", lines[0])
    assert re.fullmatch(r"fetching weights.pth, MB: 4/4, done in \d+:\d\d", lines[-1])


@pytest.mark.parametrize("length", ["chunks", "none"])
def test_a_file_of_unknown_length_arrives(target, capsys, length):
    with serve(Behaviour(BODY, length=length)) as url:
        fetch(url, target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert "does not tell its size" in capsys.readouterr().err


def test_an_empty_file_arrives(target):
    with serve(Behaviour(b"")) as url:
        fetch(url, target, sha256=None)
    assert target.read_bytes() == b""


def test_a_redirect_is_followed(target):
    behaviour = Behaviour(BODY, location="/moved")
    with serve(behaviour) as url:
        fetch(url, target, sha256=SHA256)
    assert target.read_bytes() == BODY


# ---------------------------------------------------------------- broken connections


@pytest.mark.parametrize("length", ["header", "chunks"])
def test_a_broken_connection_is_tried_again(target, capsys, length):
    behaviour = Behaviour(BODY, breaks_after=[1000, 30000], length=length)
    with serve(behaviour) as url:
        fetch(url, target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert behaviour.num_requests == 3
    assert capsys.readouterr().err.count("trying again") == 2


def test_it_goes_on_where_it_broke(target):
    behaviour = Behaviour(BODY, breaks_after=[1000, 30000])
    with serve(behaviour) as url:
        fetch(url, target, sha256=None)
    assert target.read_bytes() == BODY
    assert behaviour.ranges == [None, "bytes=1000-", "bytes=31000-"]


def test_a_server_without_ranges_sends_all_again(target):
    behaviour = Behaviour(BODY, breaks_after=[1000], honours_range=False)
    with serve(behaviour) as url:
        fetch(url, target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert behaviour.ranges == [None, "bytes=1000-"]


def test_a_connection_that_always_breaks_is_given_up_and_goes_on_later(target):
    behaviour = Behaviour(BODY, breaks_after=[1000, *[0] * 20])
    with serve(behaviour) as url:
        with pytest.raises(WeightsError, match=r"connection broke after 1000 of 254263 bytes"):
            fetch(url, target, sha256=SHA256)
        assert behaviour.num_requests == transfer.ATTEMPTS
        assert not target.exists()
        behaviour.breaks_after.clear()
        fetch(url, target, sha256=SHA256)
    assert behaviour.ranges[-1] == "bytes=1000-"
    assert target.read_bytes() == BODY
    assert leftovers(target) == set()


def test_attempts_count_from_the_last_new_byte(target):
    behaviour = Behaviour(BODY, breaks_after=[100] * 3 * transfer.ATTEMPTS)
    with serve(behaviour) as url:
        fetch(url, target, sha256=SHA256)
    assert target.read_bytes() == BODY


def test_bytes_that_come_again_are_not_new(target):
    behaviour = Behaviour(BODY, breaks_after=[100] * 50, honours_range=False)
    with serve(behaviour) as url, pytest.raises(WeightsError, match="broke after 100 of"):
        fetch(url, target, sha256=SHA256)
    assert behaviour.num_requests == transfer.ATTEMPTS


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_tried_again(target, status):
    behaviour = Behaviour(BODY, status=[status, status])
    with serve(behaviour) as url:
        fetch(url, target, sha256=SHA256)
    assert target.read_bytes() == BODY


# ---------------------------------------------------------------- what may be gone on from


def test_a_changed_file_is_fetched_from_its_beginning(target):
    behaviour = Behaviour(OTHER, breaks_after=[5000, *[0] * 20], etag='"old"')
    with serve(behaviour) as url:
        with pytest.raises(WeightsError, match="connection broke"):
            fetch(url, target, sha256=None)
        behaviour.body, behaviour.etag = BODY, '"new"'
        behaviour.breaks_after.clear()
        behaviour.ranges.clear()
        fetch(url, target, sha256=None)
    assert behaviour.ranges == ["bytes=5000-", None]
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    ("note", "sha256", "resumes"),
    [
        ({}, None, True),
        ({}, SHA256, True),
        ({"etag": None}, SHA256, True),
        ({"etag": None}, None, False),
        ({"etag": 'W/"v1"'}, SHA256, True),
        ({"etag": 'W/"v1"'}, None, False),
        ({"url": "http://elsewhere/weights.pth"}, SHA256, False),
        ({"length": None}, SHA256, False),
        ({"length": 2000}, SHA256, False),
        ("", SHA256, False),
        ('{"url": 3', SHA256, False),
        ("[1, 2]", SHA256, False),
        ('{"unknown": 1}', SHA256, False),
    ],
)
def test_only_what_could_not_be_mixed_up_is_gone_on_from(target, note, sha256, resumes):
    etag = note.get("etag", '"v1"') if isinstance(note, dict) else '"v1"'
    behaviour = Behaviour(BODY, etag=etag)
    with serve(behaviour) as url:
        known = {"url": url, "etag": etag, "length": len(BODY)}
        write_part(target, BODY[:3000], known | note if isinstance(note, dict) else note)
        fetch(url, target, sha256=sha256)
    assert behaviour.ranges == ["bytes=3000-" if resumes else None]
    assert target.read_bytes() == BODY


def test_a_part_without_its_note_is_not_used(target):
    target.parent.mkdir()
    target.with_name("weights.pth.part").write_bytes(OTHER[:99])
    behaviour = Behaviour(BODY)
    with serve(behaviour) as url:
        fetch(url, target, sha256=None)
    assert behaviour.ranges == [None]
    assert target.read_bytes() == BODY


def test_a_whole_part_needs_no_connection(target):
    behaviour = Behaviour(BODY)
    with serve(behaviour) as url:
        write_part(target, BODY, {"url": url, "etag": None, "length": len(BODY)})
        fetch(url, target, sha256=SHA256)
    assert behaviour.num_requests == 0
    assert target.read_bytes() == BODY


def test_a_part_that_misses_the_asked_place_is_not_appended(target):
    behaviour = Behaviour(BODY, range_shift=7)
    with serve(behaviour) as url:
        write_part(target, BODY[:3000], {"url": url, "etag": '"v1"', "length": len(BODY)})
        fetch(url, target, sha256=None)
    assert behaviour.ranges == ["bytes=3000-", None]
    assert target.read_bytes() == BODY


def test_a_refused_range_is_followed_by_the_whole_file(target):
    behaviour = Behaviour(BODY, status=[416])
    with serve(behaviour) as url:
        write_part(target, BODY[:3000], {"url": url, "etag": '"v1"', "length": len(BODY)})
        fetch(url, target, sha256=None)
    assert behaviour.ranges == ["bytes=3000-", None]
    assert target.read_bytes() == BODY


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("resumed", [False, True])
def test_wrong_bytes_are_removed(target, resumed):
    with serve(Behaviour(OTHER)) as url:
        if resumed:
            write_part(target, b"x" * 50, {"url": url, "etag": '"v1"', "length": len(OTHER)})
        with pytest.raises(WeightsError, match=f"expected {SHA256}, and has been removed"):
            fetch(url, target, sha256=SHA256)
    assert not target.exists()
    assert leftovers(target) == set()


def assert_helps(message, url, target, checksum):
    for part in (url, f"copy it to {target}", checksum):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("sha256", "checksum"), [(SHA256, f"SHA-256 {SHA256}"), (None, "publishes no checksum")]
)
def test_a_missing_file_tells_what_to_do(target, sha256, checksum):
    behaviour = Behaviour(BODY, status=[404] * 9)
    with serve(behaviour) as url, pytest.raises(UserError, match="server answers 404") as raised:
        fetch(url, target, sha256=sha256)
    assert behaviour.num_requests == 1
    assert_helps(str(raised.value), url, target, checksum)


def test_nobody_there_tells_what_to_do(target):
    with serve(Behaviour(BODY)) as url:
        pass
    with pytest.raises(WeightsError, match="refused") as raised:
        fetch(url, target, sha256=SHA256)
    assert_helps(str(raised.value), url, target, SHA256)


@pytest.mark.parametrize("value", ["1", "true"])
def test_offline_never_connects(target, monkeypatch, value):
    monkeypatch.setenv("AMFLOW_MM_OFFLINE", value)
    behaviour = Behaviour(BODY)
    with (
        serve(behaviour) as url,
        pytest.raises(WeightsError, match="AMFLOW_MM_OFFLINE is set") as raised,
    ):
        fetch(url, target, sha256=SHA256)
    assert behaviour.num_requests == 0
    assert_helps(str(raised.value), url, target, SHA256)
    assert not target.parent.exists()


@pytest.mark.parametrize("value", ["0", ""])
def test_offline_can_be_switched_off(monkeypatch, value):
    monkeypatch.setenv("AMFLOW_MM_OFFLINE", value)
    assert not download.is_offline()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content_type": "text/html; charset=utf-8"}, "a web page instead of the file"),
        ({"encoding": "gzip"}, "packs the file as 'gzip'"),
        ({"length": "none"}, "tells no length and no checksum is known"),
        ({"location": "file:///etc/hostname"}, "answers 302 .* is not allowed"),
        ({"location": "ftp://127.0.0.1/x"}, "redirects from http to ftp"),
    ],
)
def test_what_is_no_plain_file_is_refused(target, options, message):
    with serve(Behaviour(BODY, **options)) as url, pytest.raises(WeightsError, match=message):
        fetch(url, target, sha256=None)
    assert not target.exists()


def test_encryption_is_not_given_up():
    handler = transfer._HttpRedirects()
    request = transfer.urllib.request.Request("https://host/x")
    with pytest.raises(WeightsError, match="from https to http, which is refused"):
        handler.redirect_request(request, io.BytesIO(), 302, "", {}, "http://host/x")
    followed = handler.redirect_request(request, io.BytesIO(), 302, "", {}, "https://other/x")
    assert followed.full_url == "https://other/x"


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://host/x", "weights.pth", "http:///x", "http://[::1/x",
            "https://host/gewöhnlich"]
)  # fmt: skip
def test_other_addresses_are_refused(target, url):
    with pytest.raises(WeightsError, match=r"must be an address that begins with https://"):
        fetch(url, target, sha256=None)


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64, SHA256[:-1]])
def test_a_malformed_checksum_is_refused(target, sha256):
    with pytest.raises(ValueError, match="must be 64 hexadecimal digits"):
        fetch("https://host/x", target, sha256=sha256)


def test_a_disk_without_room_is_told_before_it_is_filled(target, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda folder: usage)
    with serve(Behaviour(BODY)) as url, pytest.raises(WeightsError, match=r"0 MB are missing, but"):
        fetch(url, target, sha256=None)
    assert not target.exists()


def test_a_disk_that_fills_meanwhile_is_told(target, monkeypatch):
    target.parent.mkdir()
    part = target.with_name("weights.pth.part")
    monkeypatch.setattr(transfer, "discard", lambda part: None)
    part.symlink_to("/dev/full")
    with serve(Behaviour(BODY)) as url, pytest.raises(WeightsError, match="No space left"):
        fetch(url, target, sha256=None)
    assert not target.exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"cannot be fetched: .*file"):
        fetch("https://host/x", tmp_path / "file" / "x.pth", sha256=None)


# ---------------------------------------------------------------- several processes

FETCH = """
import sys
from pathlib import Path
from amflow_mm.models.weights import download
download.HEAD_START_SECONDS = float(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()
print(download.fetch(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3]))
"""


def start(url, target, *, local_rank=None, head_start=30):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if local_rank is not None:
        environment["LOCAL_RANK"] = str(local_rank)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FETCH, url, str(target), SHA256, str(head_start)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process):
    out, err = process.communicate("\n", timeout=60)
    assert process.returncode == 0, err
    return out.strip(), err


@pytest.mark.slow
def test_two_processes_fetch_once(target):
    behaviour = Behaviour(BODY, gate=threading.Event())
    with serve(behaviour) as url:
        first, second = start(url, target), start(url, target)
        for process in (first, second):
            process.stdin.write("\n")
            process.stdin.flush()
        # The one that has the lock is held up until the other says that it waits.
        assert behaviour.asked.wait(30)
        told = _first_to_wait(first, second)
        behaviour.gate.set()
        results = [process.communicate(timeout=60) for process in (first, second)]
    assert "waiting for another process that fetches weights.pth" in told
    assert [out.strip() for out, _ in results] == [str(target)] * 2
    assert behaviour.num_requests == 1
    assert target.read_bytes() == BODY
    assert leftovers(target) == set()


def _first_to_wait(*processes):
    """Return the first line that one of the processes writes on stderr."""
    ready, _, _ = select.select([p.stderr for p in processes], [], [], 30)
    return ready[0].readline()


@pytest.mark.slow
def test_the_first_process_of_a_node_fetches(target):
    behaviour = Behaviour(BODY)
    with serve(behaviour) as url:
        later = start(url, target, local_rank=1)
        first = start(url, target, local_rank=0)
        later.stdin.write("\n")
        later.stdin.flush()
        _, err = finish(first)
        out, silent = later.communicate(timeout=60)
    assert "MB: 1/1" in err
    assert out.strip() == str(target)
    assert "MB:" not in silent
    assert behaviour.num_requests == 1


@pytest.mark.slow
def test_without_a_first_process_another_fetches(target):
    behaviour = Behaviour(BODY)
    with serve(behaviour) as url:
        out, _ = finish(start(url, target, local_rank=1, head_start=0.2))
    assert out == str(target)
    assert behaviour.num_requests == 1


@pytest.mark.slow
def test_a_killed_process_blocks_nobody_and_loses_nothing(target):
    behaviour = Behaviour(BODY, breaks_after=[1000], gate=threading.Event())
    with serve(behaviour) as url:
        process = start(url, target)
        process.stdin.write("\n")
        process.stdin.flush()
        assert behaviour.asked.wait(30)
        process.kill()
        process.communicate(timeout=60)
        behaviour.gate.set()
        behaviour.breaks_after.clear()
        fetch(url, target, sha256=SHA256)
    assert target.read_bytes() == BODY
