import pytest


@pytest.fixture
def logged(monkeypatch):
    """What the store has logged."""
    lines = []
    monkeypatch.setattr(
        "amflow_mm.datasets.clip_cache.store.print_log", lambda text, **_: lines.append(text)
    )
    return lines
