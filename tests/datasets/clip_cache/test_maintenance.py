"""Looking at a whole cache, and cleaning it up under the eyes of readers."""

import pytest

from amflow_mm.datasets.clip_cache import ClipStore, Recipe, shards
from amflow_mm.datasets.clip_cache.maintenance import prune, survey, verify
from amflow_mm.errors import UserError
from tests.datasets.clip_cache.cache_parts import RECIPE, get, key_of, payload_of, put

OTHER = Recipe(9, '{"encoding": "jpeg", "quality": 90, "steps": [{"type": "a.Open"}]}')


@pytest.fixture
def folder(tmp_path):
    """Clips 0 to 9 in three shards, 3 and 4 twice."""
    folder = tmp_path / "cache"
    stores = [ClipStore(folder) for _ in range(3)]
    for number in range(10):
        assert put(stores[number % 3], number)
    for number in (3, 4):
        assert put(stores[2], number)
    for store in stores:
        store.close()
    return folder


def damage(folder, number):
    for path in folder.glob("*.clips"):
        content = path.read_bytes()
        if payload_of(number) in content:
            broken = payload_of(number)[:-1] + bytes([payload_of(number)[-1] ^ 8])
            path.write_bytes(content.replace(payload_of(number), broken))


def held(folder):
    return [number for number in range(12) if get(ClipStore(folder), number) is not None]


def keys_of(numbers):
    return {key_of(number) for number in numbers}


def test_a_survey_counts(folder):
    store = ClipStore(folder)
    store.put(key_of(11), OTHER, [memoryview(b"0123456789")])
    found = survey(folder)
    assert (found.clips, found.shards, found.duplicates) == (11, 3, 2)
    assert found.num_bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert found.is_in_use
    assert found.recipes[7].clips == 10
    assert found.recipes[7].num_bytes == sum(len(payload_of(number)) for number in range(10))
    assert found.recipes[9].num_bytes == 10
    assert found.recipes[7].summary() == "Load; raw"
    assert found.recipes[9].summary() == "Open; jpeg 90"
    store.close()
    assert not survey(folder).is_in_use


def test_a_recipe_without_its_file_is_unknown(folder):
    shards.recipe_path(folder, 7).unlink()
    assert survey(folder).recipes[7].summary() == "unknown"


def test_verify_finds_every_damaged_clip(folder):
    assert verify(folder) == {"sound": 12, "damaged": 0}
    for number in (0, 9):
        damage(folder, number)
    assert verify(folder) == {"sound": 10, "damaged": 2}


def test_verify_finds_data_that_are_gone(folder):
    path = max(folder.glob("*.clips"))
    path.unlink()
    counts = verify(folder)
    assert counts["damaged"] >= 3
    assert counts["sound"] + counts["damaged"] == 12


def test_prune_keeps_what_is_wanted_once_and_sound(folder):
    damage(folder, 6)
    before = survey(folder).num_bytes
    counts = prune(folder, keys_of([0, 3, 4, 6, 8, 11]))
    assert {**counts, "freed": 0} == {
        "kept": 4,
        "stale": 5,
        "damaged": 1,
        "duplicate": 2,
        "freed": 0,
    }
    assert counts["freed"] == before - survey(folder).num_bytes
    assert held(folder) == [0, 3, 4, 8]
    assert verify(folder) == {"sound": 4, "damaged": 0}
    assert survey(folder).recipes[7].num_bytes == sum(len(payload_of(n)) for n in (0, 3, 4, 8))


def test_a_tidy_cache_is_left_as_it_is(folder):
    prune(folder, keys_of(range(10)))
    files = {path: path.stat().st_ino for path in folder.iterdir()}
    counts = prune(folder, keys_of(range(10)))
    assert (counts["kept"], counts["freed"]) == (10, 0)
    assert {path: path.stat().st_ino for path in folder.iterdir()} == files


def test_prune_removes_torn_tails_leftovers_and_recipes(folder):
    store = ClipStore(folder)
    store.put(key_of(11), OTHER, [memoryview(b"0123456789")])
    store.close()
    data = min(folder.glob("*.clips"))
    with data.open("ab") as stream:
        stream.write(bytes(1000))
    (folder / "nobody-0.clips").write_bytes(bytes(500))
    (folder / ".x.part").write_bytes(bytes(500))
    prune(folder, keys_of(range(10)))
    assert sum(p.stat().st_size for p in folder.glob("*.clips")) == sum(
        len(payload_of(n)) for n in range(10)
    )
    assert not list(folder.rglob("*.part"))
    assert [path.name for path in (folder / "recipes").iterdir()] == [f"{7:016x}.json"]
    assert held(folder) == list(range(10))


def test_readers_go_on_while_it_is_pruned(folder):
    warm, opened = ClipStore(folder), ClipStore(folder)
    assert get(warm, 0) == payload_of(0)
    assert get(opened, 1) == payload_of(1)
    warm._reader.close()  # as if many other shards had been read since
    prune(folder, keys_of([0, 1, 2]))
    assert [get(warm, n) for n in (0, 1, 2)] == [payload_of(n) for n in (0, 1, 2)]
    assert [get(opened, n) for n in (1, 2, 5)] == [payload_of(1), payload_of(2), None]
    assert warm.counts["damaged"] == opened.counts["damaged"] == 0


def test_prune_is_refused_while_somebody_may_write(folder):
    store = ClipStore(folder)
    put(store, 10)
    with pytest.raises(UserError, match="is in use: a training or `fill` may be writing"):
        prune(folder, set())
    assert held(folder) == list(range(11))
    store.close()
    prune(folder, set())
    assert not shards.list_shards(folder)


def test_nothing_is_written_while_it_is_pruned(folder):
    gate = shards.open_file(folder / shards.WRITERS_LOCK)
    store = ClipStore(folder)
    assert shards.try_lock(gate)
    assert not put(store, 10)
    shards.os.close(gate)
    assert put(store, 10)
    assert get(store, 10) == payload_of(10)


@pytest.mark.parametrize("function", [survey, verify, lambda folder: prune(folder, set())])
def test_a_folder_that_is_no_cache_raises(tmp_path, function):
    with pytest.raises(UserError, match="holds no clip cache"):
        function(tmp_path / "none")


def test_recipe_texts_stand_beside_the_clips(folder):
    assert shards.recipe_path(folder, 7).read_text() == RECIPE.text
