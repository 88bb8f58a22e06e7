"""The rules of the house that a machine can check; CONTRIBUTING.md says why they are there."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "amflow_mm"
LAYERS = PACKAGE / "models" / "layers"
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = ("amflow_mm", "configs", "docs", "requirements", "tests", "tools")

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
PLAIN_PYTORCH = {"amflow_mm", "jaxtyping", "torch"} | sys.stdlib_module_names

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[FunctionNode]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, FunctionNode):
            yield node


@pytest.mark.slow
def test_import_contract_holds():
    linter = Path(sys.executable).with_name("lint-imports")
    finished = subprocess.run(
        [str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_file_is_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


def body_lines(function: FunctionNode) -> int:
    """Count the lines of a function below its signature and docstring."""
    has_docstring = ast.get_docstring(function) is not None
    statements = function.body[has_docstring:]
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_functions_are_small(path):
    long = {f.name: body_lines(f) for f in functions(path) if body_lines(f) > MAX_FUNCTION_LINES}
    assert not long


def swallows_keywords(function: FunctionNode) -> bool:
    """Tell whether `**kwargs` is accepted and never read; raising at once is reading."""
    if function.args.kwarg is None or isinstance(function.body[-1], ast.Raise):
        return False
    name = function.args.kwarg.arg
    return not any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(function))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_keyword_is_swallowed(path):
    assert [f.name for f in functions(path) if swallows_keywords(f)] == []


@pytest.mark.parametrize("path", sorted(LAYERS.glob("*.py")), ids=relative)
def test_layers_import_pytorch_only(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    allowed = PLAIN_PYTORCH | ({"triton"} if path.stem == "flow_triton" else set())
    assert {name.partition(".")[0] for name in imported} <= allowed
    ours = {name for name in imported if name.startswith("amflow_mm")}
    assert all(name.startswith("amflow_mm.models.layers") for name in ours)


def bare_tensors(annotation: ast.expr) -> int:
    """Count the tensors of an annotation that do not stand inside `Float[Tensor, "axes"]`.

    `Tensor | None` is the opaque state of a temporal unit and does not count.
    """
    stated = [n for n in ast.walk(annotation) if isinstance(n, ast.Subscript) and has_axes(n)]
    stated += [n for n in ast.walk(annotation) if ast.unparse(n) == "Tensor | None"]
    inside = {id(node) for part in stated for node in ast.walk(part)}
    names = [n for n in ast.walk(annotation) if isinstance(n, ast.Name) and n.id == "Tensor"]
    return sum(id(name) not in inside for name in names)


def has_axes(subscript: ast.Subscript) -> bool:
    parts = subscript.slice.elts if isinstance(subscript.slice, ast.Tuple) else []
    return any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts)


@pytest.mark.parametrize("path", sorted(LAYERS.glob("*.py")), ids=relative)
def test_forward_states_the_axes_of_its_tensors(path):
    for function in functions(path):
        if function.name != "forward":
            continue
        arguments = [*function.args.args[1:], *function.args.kwonlyargs]
        annotations = [*(argument.annotation for argument in arguments), function.returns]
        assert None not in annotations, f"line {function.lineno}: an argument has no annotation"
        axes = [n for a in annotations for n in ast.walk(a) if isinstance(n, ast.Subscript)]
        assert any(has_axes(subscript) for subscript in axes), f"line {function.lineno}"
        assert sum(map(bare_tensors, annotations)) == 0, f"line {function.lineno}"


def text_files() -> list[Path]:
    suffixes = {".py", ".md", ".txt", ".sh", ".toml", ".yaml", ".cff", ".in", ""}
    top = [path for path in ROOT.iterdir() if path.is_file()]
    nested = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    files = [*top, *nested, *(ROOT / ".ci").iterdir()]
    hidden = {"__pycache__", Path(__file__).name}
    return sorted(p for p in files if p.suffix in suffixes and not hidden & set(p.parts))


# What says where and how the project was made, or binds it to one machine or service.
OUT_OF_PLACE = re.compile(
    r"/work/|/root/|/home/\w|/opt/|pypi\.org|pythonhosted"
    r"|\b(?:issue|ticket) ?#?\d+|\bthis session\b"
    r"|\b(?:claude|anthropic|openai codex|chatgpt|copilot|language model wrote)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", text_files(), ids=relative)
def test_text_speaks_of_the_project_only(path):
    found = [match.group() for match in OUT_OF_PLACE.finditer(path.read_text(encoding="utf-8"))]
    assert found == []


def named_paths(document: Path) -> set[str]:
    """Collect what a document sets in backticks and that looks like a path of the repository."""
    quoted = re.findall(r"`([\w./*-]+)`", document.read_text(encoding="utf-8"))
    return {name for name in quoted if name.startswith(tuple(f"{f}/" for f in FOLDERS))}


@pytest.mark.parametrize(
    "document",
    ["README.md", "CONTRIBUTING.md", *map(relative, sorted((ROOT / "docs").rglob("*.md")))],
)
def test_documents_name_paths_that_exist(document):
    missing = [name for name in named_paths(ROOT / document) if not any(ROOT.glob(name))]
    assert missing == []


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md"])
def test_where_is_table_leads_to_files(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    table = re.search(r"^#+ [^\n]*where is.*?(?=^#|\Z)", text, re.IGNORECASE | re.M | re.S)
    assert table, "a section `Where is ...?` is missing"
    rows = [line for line in table.group().splitlines() if line.startswith("|")]
    paths = re.findall(r"`([\w./-]+(?:\.py|/))`", "\n".join(rows))
    assert len(paths) >= 8
    assert [path for path in paths if not (ROOT / path).exists()] == []
