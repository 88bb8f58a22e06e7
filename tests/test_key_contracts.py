"""The names of weights do not change without notice."""

import pytest
from mmengine.registry import init_default_scope

from tests.key_contracts import CASES, FOLDER, contract_of


@pytest.mark.parametrize("name", CASES)
def test_names_and_shapes_are_those_on_file(name):
    init_default_scope("amflow_mm")
    expected = (FOLDER / f"{name}.txt").read_text()
    assert contract_of(CASES[name]()) == expected, "see tests/key_contracts.py"


def test_every_file_has_a_case():
    assert {path.stem for path in FOLDER.glob("*")} == CASES.keys()
