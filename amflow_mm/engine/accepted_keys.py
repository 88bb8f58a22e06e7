"""Which keyword arguments a class or function takes: the signature, seen through ``**kwargs``.

``inspect.signature`` ends at ``**kwargs``. What happens to them is read from the source: handed to
``super().__init__``, they mean the parameters of the base as well; never read, they mean nothing,
and a misspelt argument vanishes in them; used in any other way, they may mean everything.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_READERS = frozenset({"get", "pop", "setdefault"})


class KeywordUse(NamedTuple):
    """What a function does with its ``**kwargs``."""

    names: frozenset[str]  # read one by one: kwargs.pop("name")
    is_forwarded: bool  # to the constructor of a base
    is_open: bool  # in a way that does not tell which names are valid


@functools.cache
def accepted_keys(
    target: Callable[..., Any], open_keywords: frozenset[str] | None = None
) -> frozenset[str] | None:
    """List the keyword arguments that ``target`` takes, or None if it may take any.

    ``open_keywords`` says what ``**kwargs`` may hold where the source does not tell.
    """
    keys: set[str] = set()
    for function in _constructors(target):
        parameters = inspect.signature(function).parameters.values()
        keys |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        catch_all = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        if catch_all is None:
            break
        use = _keyword_use(function, catch_all)
        if use.is_open and open_keywords is None:
            return None
        keys |= use.names | (open_keywords if use.is_open else frozenset())
        if not use.is_forwarded:
            break
    return frozenset(keys - {"self"})


def _constructors(target: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield a function itself, and of a class its constructors from the class to its bases."""
    if not inspect.isclass(target):
        yield target
        return
    for base in target.__mro__[:-1]:  # without `object`
        if "__init__" in vars(base):
            yield vars(base)["__init__"]


def _keyword_use(function: Callable[..., Any], catch_all: str) -> KeywordUse:
    """Read from the source what ``function`` does with the parameter ``**catch_all``."""
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):  # compiled, or made at run time
        return KeywordUse(frozenset(), is_forwarded=False, is_open=True)
    tree = ast.parse(textwrap.dedent(source))
    names, understood, is_forwarded = set(), 0, False
    for node in ast.walk(tree):
        if _forwards(node, catch_all):
            is_forwarded, understood = True, understood + 1
        elif (name := _name_read(node, catch_all)) is not None:
            names.add(name)
            understood += 1
    mentions = sum(isinstance(node, ast.Name) and node.id == catch_all for node in ast.walk(tree))
    return KeywordUse(frozenset(names), is_forwarded, is_open=mentions > understood)


def _forwards(node: ast.AST, catch_all: str) -> bool:
    """Recognise ``super().__init__(..., **kwargs)`` and ``Base.__init__(self, ..., **kwargs)``."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "__init__"
        and any(k.arg is None and _is_name(k.value, catch_all) for k in node.keywords)
    )


def _name_read(node: ast.AST, catch_all: str) -> str | None:
    """Recognise ``kwargs.pop("x")``, ``kwargs["x"]`` and ``"x" in kwargs``; return the x."""
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr=attr), args=[ast.Constant(name), *_]):
            is_read = attr in _READERS and _is_name(value, catch_all)
        case ast.Subscript(value=value, slice=ast.Constant(name)):
            is_read = _is_name(value, catch_all)
        case ast.Compare(
            left=ast.Constant(name), ops=[ast.In() | ast.NotIn()], comparators=[value]
        ):
            is_read = _is_name(value, catch_all)
        case _:
            return None
    return name if is_read and isinstance(name, str) else None


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
