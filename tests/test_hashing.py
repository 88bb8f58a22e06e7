import hashlib

from amflow_mm.hashing import hash_file


def test_hash_of_a_file_larger_than_a_block(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(content)
    assert hash_file(tmp_path / "x") == hashlib.sha256(content).hexdigest()
