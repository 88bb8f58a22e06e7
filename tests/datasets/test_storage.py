"""Files by path or URL: same contents everywhere, clear errors, no secrets, no endless waits."""

import asyncio
import importlib
import sys
import uuid
from multiprocessing import get_context
from pathlib import Path

import pytest

from amflow_mm.datasets import remote_files
from amflow_mm.datasets.storage import (
    LeavingPathError,
    MissingStoredFileError,
    NotTextError,
    StorageError,
    exists,
    file_size,
    hide_secrets,
    is_folder,
    is_remote,
    join,
    open_file,
    read_bytes,
    read_range,
    read_text,
    remove,
    upload,
    write_bytes,
)
from tests.datasets.range_server import serving

DATA = bytes(range(251)) * 3


@pytest.fixture(autouse=True)
def no_delays(monkeypatch):
    monkeypatch.setattr(remote_files, "RETRY_DELAYS", (0.0, 0.0))


@pytest.fixture(params=["path", "file", "memory"])
def root(request, tmp_path):
    """A folder of each kind that can be written to."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"file://{tmp_path}" if request.param == "file" else str(tmp_path)


@pytest.fixture
def server(tmp_path):
    pytest.importorskip("aiohttp")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(DATA)
    (tmp_path / "served" / "empty.bin").write_bytes(b"")
    with serving(tmp_path / "served") as server:
        yield server


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.mp4", False),
        ("/a/b.mp4", False),
        ("C:/a/b.mp4", False),
        ("file:///a/b.mp4", False),
        ("local:///a/b.mp4", False),
        ("a://b", False),  # one letter is a drive
        ("s3://bucket/b.mp4", True),
        ("https://host/b.mp4", True),
        ("memory://b.mp4", True),
        ("simplecache::s3://bucket/b.mp4", True),
        ("cluster:s3://bucket/b.mp4", True),  # MMEngine's
        ("own_store://bucket/b.mp4", True),
        (Path("a"), False),
    ],
)
def test_what_counts_as_remote(path, expected):
    assert is_remote(path) is expected


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("", "a/b.mp4", "a/b.mp4"),
        ("data", "a/b.mp4", "data/a/b.mp4"),
        ("data/", "a/../b.mp4", "data/a/../b.mp4"),
        ("data", "/x/b.mp4", "/x/b.mp4"),
        ("data", "file:///x/b.mp4", "/x/b.mp4"),
        ("file:///data", "b.mp4", "/data/b.mp4"),
        ("data", "s3://bucket/b.mp4", "s3://bucket/b.mp4"),
        ("s3://bucket/set", "a/b.mp4", "s3://bucket/set/a/b.mp4"),
        ("s3://bucket/set/", "./a/../b.mp4", "s3://bucket/set/b.mp4"),
        ("s3://bucket/set", "/x/b.mp4", "/x/b.mp4"),
        ("s3://bucket/set", "..b.mp4", "s3://bucket/set/..b.mp4"),
    ],
)
def test_join(root, path, expected):
    assert join(root, path) == expected


@pytest.mark.parametrize("root", ["", "data", "file:///data", "s3://key:secret@bucket/set"])
@pytest.mark.parametrize("path", ["../b.mp4", "a/../../b.mp4", "..", "./.././b.mp4"])
def test_a_path_that_leaves_its_folder_raises(root, path):
    with pytest.raises(LeavingPathError, match=r"leaves its folder .* or absolute") as caught:
        join(root, path)
    assert "secret" not in str(caught.value)


def test_dots_that_a_web_server_decodes_raise():
    with pytest.raises(LeavingPathError, match=r"leaves its folder"):
        join("https://host/set", "%2e%2E/%2e./b.mp4")
    assert join("data", "%2e%2e/b.mp4") == "data/%2e%2e/b.mp4"


def test_what_is_written_is_read(root):
    path = join(root, "deep/er/a.bin")
    assert not exists(path)
    write_bytes(path, DATA)
    assert exists(path)
    assert not is_folder(path)
    assert is_folder(join(root, "deep"))
    assert not is_folder(join(root, "shallow"))
    assert file_size(path) == len(DATA)
    assert read_bytes(path) == DATA
    with open_file(path) as file:
        assert file.read(7) == DATA[:7]
    write_bytes(path, b"h\xc3\xa9")
    assert read_text(path) == "hé"
    remove(path)
    remove(path)
    assert not exists(path)


def test_parts_are_read(root):
    path = join(root, "a.bin")
    write_bytes(path, DATA)
    assert read_range(path, 3, 11) == DATA[3:11]
    assert read_range(path, 0, 1) == DATA[:1]
    assert read_range(path, 5, 5) == b""
    assert read_range(path, len(DATA) - 2, len(DATA) + 9) == DATA[-2:]
    assert read_range(path, len(DATA) + 1, len(DATA) + 9) == b""


def test_what_differs_between_protocols_does_not_matter(monkeypatch):
    """As s3fs names the contents, and what it says of a part behind the end."""
    from fsspec.implementations.memory import MemoryFileSystem

    write = MemoryFileSystem.pipe_file
    monkeypatch.setattr(
        MemoryFileSystem, "pipe_file", lambda self, path, data: write(self, path, data)
    )

    def refuse(self, path, start, end):
        raise OSError(22, "The requested range is not satisfiable")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", refuse)
    path = f"memory://{uuid.uuid4().hex}/a.bin"
    write_bytes(path, DATA)
    assert file_size(path) == len(DATA)
    assert read_range(path, len(DATA), len(DATA) + 3) == b""


def test_upload_copies(root, tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(DATA)
    upload(source, join(root, "up/a.bin"))
    assert read_bytes(join(root, "up/a.bin")) == DATA
    assert source.read_bytes() == DATA


def test_a_missing_file_raises(root):
    path = join(root, "no.bin")
    with pytest.raises(MissingStoredFileError, match=r"no\.bin does not exist$"):
        read_bytes(path)
    with pytest.raises(FileNotFoundError, match=r"does not exist"):
        read_range(path, 0, 3)
    with pytest.raises(StorageError, match=r"does not exist"):
        open_file(path)
    with pytest.raises(StorageError, match=r"does not exist"):
        file_size(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(StorageError, match=r"Is a directory"):
        read_bytes(tmp_path)


def test_what_is_not_text_raises(root):
    path = join(root, "a.bin")
    write_bytes(path, b"\xff\xfe\xfa")
    with pytest.raises(NotTextError, match=r"a\.bin is not text in UTF-8 .* convert it"):
        read_text(path)


def test_a_byte_order_mark_is_not_part_of_the_text(root):
    path = join(root, "list.txt")
    write_bytes(path, b"\xef\xbb\xbfa.mp4 1\n")
    assert read_text(path) == "a.mp4 1\n"


def test_files_of_a_web_server(server):
    url = f"{server.url}/a.bin"
    assert exists(url)
    assert not is_folder(url)
    assert file_size(url) == len(DATA)
    assert read_bytes(url) == DATA
    assert read_range(url, 3, 11) == DATA[3:11]
    assert server.ranges[-1] == "bytes=3-10"
    assert read_range(url, len(DATA) - 2, len(DATA) + 9) == DATA[-2:]
    assert read_range(url, len(DATA), len(DATA) + 9) == b""
    with open_file(url) as file:
        file.seek(100)
        assert file.read(5) == DATA[100:105]
    assert not exists(f"{server.url}/no.bin")
    with pytest.raises(MissingStoredFileError, match=r"no\.bin does not exist"):
        read_bytes(f"{server.url}/no.bin")


def test_a_server_without_parts_of_files_is_refused(server):
    server.serves_ranges = False
    with pytest.raises(StorageError, match=r"753 bytes came where 8 were .*Range requests"):
        read_range(f"{server.url}/a.bin", 3, 11)


def test_a_short_trouble_passes(server):
    server.faults = [503, 500]
    assert read_bytes(f"{server.url}/a.bin") == DATA
    assert server.faults == []


def test_a_long_trouble_ends(server):
    server.faults = [503, 500, 429, 503]
    with pytest.raises(StorageError, match=r"cannot be reached in 3 attempts .* the last one.*429"):
        read_bytes(f"{server.url}/a.bin")
    assert server.faults == [503]


@pytest.mark.parametrize(("status", "expected"), [(403, "check your credentials"), (400, "400")])
def test_a_refusal_is_not_tried_again(server, status, expected):
    server.faults = [status, 503]
    with pytest.raises(StorageError, match=expected):
        read_bytes(f"{server.url}/a.bin")
    assert server.faults == [503]


def test_trouble_is_not_taken_for_absence(server):
    server.faults = [503] * 9
    with pytest.raises(StorageError, match=r"cannot be reached"):
        exists(f"{server.url}/a.bin")


def test_nobody_answers(server):
    url = "http://127.0.0.1:9/a.bin"
    for ask in (read_bytes, exists, file_size):
        with pytest.raises(StorageError, match=r"cannot be reached in 3 attempts") as caught:
            ask(url)
        assert not isinstance(caught.value, FileNotFoundError)


def test_a_call_that_hangs_is_given_up(server, monkeypatch):
    from fsspec.implementations.http import HTTPFileSystem

    attempts = []

    async def hang(self, path, **options):
        attempts.append(path)
        await asyncio.sleep(60)

    monkeypatch.setattr(HTTPFileSystem, "_cat_file", hang)
    with pytest.raises(StorageError, match=r"3 attempts of at most 0 s.*Timeout"):
        read_bytes(f"{server.url}/a.bin", timeout=0.05)
    assert len(attempts) == 3


def test_no_secret_is_shown(server):
    host = server.url.removeprefix("http://")
    url = f"http://me:pass%40word@{host}/a.bin?X-Signature=abcdef&x=y"
    assert read_bytes(url) == DATA
    assert server.authorizations[-1].startswith("Basic ")
    server.faults = [403]
    with pytest.raises(StorageError, match=r"http://…@127\.0\.0\.1:\d+/a\.bin\?…") as caught:
        read_bytes(url)
    assert caught.value.__suppress_context__
    for secret in ("me:", "pass", "word", "abcdef"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://key:secret@bucket/a", "s3://…@bucket/a"),
        ("with url: /a?sig=abc&b=c (x)", "with url: /a?… (x)"),
        ("https://h/a?abc", "https://h/a?…"),
        ("https://host/a@b.mp4", "https://host/a@b.mp4"),
        ("where? there", "where? there"),
    ],
)
def test_hide_secrets(text, expected):
    assert hide_secrets(text) == expected


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs")])
def test_a_missing_package_is_named(scheme, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    loaded = importlib.import_module("fsspec.registry").registry
    if scheme in loaded:
        pytest.skip(f"{package} is in use")
    with pytest.raises(
        StorageError, match=rf"{scheme}:// needs a package .* pip install {package}"
    ):
        read_bytes(f"{scheme}://bucket/a.mp4")


def test_an_unknown_protocol_raises():
    with pytest.raises(StorageError, match=r"nonsense:// is no known protocol; known are file"):
        read_bytes("nonsense://a/b")


def test_a_web_server_cannot_be_written_to(server):
    with pytest.raises(StorageError, match=r"http:// does not support this|cannot be reached|50\d"):
        write_bytes(f"{server.url}/new.bin", b"x")
    assert not (server.folder / "new.bin").exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match=r"a\.bin: No space left on device"):
        write_bytes(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"old"


def read_in_child(url, queue):
    queue.put(read_bytes(url))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_read_after_their_parent_did(server, method):
    url = f"{server.url}/a.bin"
    assert read_bytes(url) == DATA
    context = get_context(method)
    queue = context.Queue()
    worker = context.Process(target=read_in_child, args=(url, queue))
    worker.start()
    try:
        assert queue.get(timeout=60) == DATA
        worker.join(timeout=60)
        assert worker.exitcode == 0
    finally:
        worker.kill()


def test_local_files_do_without_fsspec(tmp_path, monkeypatch):
    for module in ("fsspec", "fsspec.asyn", "fsspec.core"):
        monkeypatch.setitem(sys.modules, module, None)
    write_bytes(tmp_path / "a.bin", DATA)
    assert read_range(f"file://{tmp_path}/a.bin", 3, 5) == DATA[3:5]
