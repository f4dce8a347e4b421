"""Genotypes as other programs print them: parsed as literals, never evaluated.

Read are, in a text, a Python file, a log or JSON:

* ``Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=...,
  reduce_concat=...)`` (DARTS and its descendants), with a pair for each edge, two edges
  a node; with a list of edges for each node (AutoDL's GDAS, pt.darts); with
  ``(primitive, node, source)`` (Fair DARTS); with ``(primitive, source, weight)``;
* ``Genotype(recurrent=[('tanh', 0), ...], concat=range(1, 9))``;
* the same fields as a dictionary;
* ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+...`` (NAS-Bench-201);
* NNI's dictionaries: ``normal/op_2_0`` and ``normal/input_2_0``, or ``normal_n2_p0``
  and ``normal_n2_switch``; NAS-Bench-301's ``edge_normal_0``, ``inputs_node_normal_3``.
"""

import ast
import json
import re
from typing import Any, NoReturn

from jdarts.errors import UserError, unknown_choice
from jdarts.io.peers import (
    EXPECTED,
    FIELDS,
    RECURRENT,
    from_bench,
    from_fields,
    is_field,
)
from jdarts.spaces import MAX_NODES, Genotype

__all__ = ["MAX_CHARACTERS", "is_printed", "printed_genotype", "printed_names"]

MAX_CHARACTERS = 4 * 2**20
"""Of a file; the log of a search has about one million."""

_MAX_PARSED = 2**18  # of what is parsed as a whole
_MAX_CALL = 2**16  # of one genotype
_MAX_FOUND = 10_000
_SHOWN = 8  # names listed

_CALL = re.compile(
    r"(?:\b(\w{1,80})[ \t]{0,9}=[\s\\]{0,99})?\b(?:\w{1,40}\.){0,3}Genotype\s{0,9}\("
)
_BENCH = re.compile(
    r"(?:\|[\w ]{1,40}~\d{1,3})+\|"
    r"(?:\s{0,9}\+\s{0,9}(?:\|[\w ]{1,40}~\d{1,3})+\|)*"
)

Found = ast.Call | ast.Dict | dict[str, Any] | str
"""A genotype that is not read yet: a syntax tree, parsed JSON, or NAS-Bench-201's."""


def is_printed(text: str) -> bool:
    """Whether a word of a command line is a genotype, not a name or a file."""
    start = text.lstrip()[:1]
    return start == "{" or bool(_CALL.search(text) or _BENCH.search(text))


def printed_names(text: str) -> list[str]:
    """What the genotypes in a text are called; see `printed_genotype`."""
    return list(_found(text))


def printed_genotype(text: str, source: str, choice: str | None = None) -> Genotype:
    """The genotype that a text holds.

    Args:
      text: Python, a log, JSON, or a genotype alone.
      source: its name, for errors.
      choice: which one, if there are several: the name of its variable; where not all
        have one (in a log), its number from 1 on.

    Raises:
      UserError: if there is none, or not that one; if there are several and none was
        chosen; if it is malformed; for a primitive that means nothing here.
    """
    if len(text) > MAX_CHARACTERS:
        raise UserError(
            f"{source}: more than {MAX_CHARACTERS} characters; expected a file of "
            "genotypes, or the log of a search"
        )
    found = _found(text)
    names = list(found)
    if not found:
        raise UserError(f"{source}: holds no genotype; {EXPECTED}")
    if choice is None and len(found) > 1:
        raise UserError(
            f"{source}: holds {len(found)} genotypes, {_listed(names)}; expected which "
            f"one, as {source}@{names[-1]}"
        )
    name = names[0] if choice is None else choice
    if name not in found:
        raise unknown_choice(f"{source}: genotype", name, names, _listed(names))
    return _genotype(found[name], source if choice is None else f"{source}@{name}")


def _listed(names: list[str]) -> str:
    if len(names) <= _SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: _SHOWN - 1])}, ..., {names[-1]}"


# --- from a text to what in it is a genotype ------------------------------------------


def _found(text: str) -> dict[str, Found]:
    """The genotypes of a text by name, in their order."""
    text = text.strip()
    if text.startswith("{"):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            pass  # of Python, perhaps
        else:
            return {"1": data} if any(map(is_field, data)) else {}
    tree = _parsed(text)
    found = [] if tree is None else _written(tree)
    if found and all(name is not None for name, _ in found):
        return {str(name): value for name, value in found}  # the last one holds
    if not found:
        found = _calls(text)
    if not found:
        texts = [match[0] for match in _BENCH.finditer(text)][:_MAX_FOUND]
        found = [(None, part) for part in texts]
    names = [name for name, _ in found]
    if None in names or len(set(names)) < len(names):
        names = [str(number) for number in range(1, 1 + len(found))]
    return {str(n): value for n, (_, value) in zip(names, found, strict=True)}


def _parsed(text: str) -> ast.Module | None:
    """The text as Python; None if it is none, or is too large or too deep."""
    if len(text) > _MAX_PARSED:
        return None
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _written(tree: ast.Module) -> list[tuple[str | None, Found]]:
    """What a module assigns to names, or writes down without one."""
    found: list[tuple[str | None, Found]] = []
    for statement in tree.body:
        names: list[str | None] = [None]
        if isinstance(statement, ast.Assign):
            names = [t.id for t in statement.targets if isinstance(t, ast.Name)]
        elif not isinstance(statement, ast.Expr):
            continue
        value: Any = statement.value
        if isinstance(value, ast.Name):  # DARTS = DARTS_V2
            value = dict(found).get(value.id)
        if isinstance(value, ast.Constant):
            value = value.value
        if _is_genotype(value):
            found += [(name, value) for name in names]
    return found


def _is_genotype(value: Any) -> bool:
    if isinstance(value, ast.Dict):
        keys = (key.value for key in value.keys if isinstance(key, ast.Constant))
        return any(isinstance(key, str) and is_field(key) for key in keys)
    if isinstance(value, str):
        return _BENCH.fullmatch(value.strip()) is not None
    return isinstance(value, dict) or _is_call(value)


def _is_call(value: Any) -> bool:
    if not isinstance(value, ast.Call):
        return False
    return getattr(value.func, "id", getattr(value.func, "attr", "")) == "Genotype"


def _calls(text: str) -> list[tuple[str | None, Found]]:
    """The calls in a text that is no Python as a whole, as the log of a search."""
    found: list[tuple[str | None, Found]] = []
    matches = list(_CALL.finditer(text))[:_MAX_FOUND]
    starts = [match.start() for match in matches] + [len(text)]
    for match, end in zip(matches, starts[1:], strict=True):
        depth, first = 1, match.end()
        for place in range(first, min(first + _MAX_CALL, end)):
            depth += {"(": 1, ")": -1}.get(text[place], 0)
            if depth == 0:
                tree = _parsed("Genotype(" + text[first : place + 1])
                calls = [] if tree is None else _written(tree)
                found += [(match[1], value) for _, value in calls]
                break
    return found


# --- from a syntax tree to plain data -------------------------------------------------


def _genotype(value: Found, source: str) -> Genotype:
    if isinstance(value, str):
        return from_bench(value, source)
    if isinstance(value, dict):
        return from_fields(value, source)
    if isinstance(value, ast.Dict):
        return from_fields(_literal(value, source), source)
    fields = {k.arg or "**": _literal(k.value, source) for k in value.keywords}
    names = RECURRENT if len(value.args) == 2 and not fields else FIELDS
    if len(value.args) > len(names) or "**" in fields:
        raise UserError(f"{source}: a Genotype of other fields; {EXPECTED}")
    given = [_literal(argument, source) for argument in value.args]
    return from_fields(dict(zip(names, given, strict=False)) | fields, source)


def _literal(node: ast.AST, source: str) -> Any:
    """What a syntax tree of literals stands for; tuples become lists."""
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_literal(item, source) for item in items]
        case ast.Dict(keys=keys, values=values):
            named = [k.value if isinstance(k, ast.Constant) else None for k in keys]
            if all(isinstance(name, str) for name in named):
                given = [_literal(value, source) for value in values]
                return dict(zip(named, given, strict=True))
        case ast.Call(func=ast.Name("list" | "tuple"), args=[items], keywords=[]):
            return _literal(items, source)
        case ast.Call(func=ast.Name("range"), args=args, keywords=[]) if args:
            return _range([_literal(item, source) for item in args], source)
    _refuse(node, source)


def _range(limits: list[Any], source: str) -> list[int]:
    try:
        numbers = range(*limits)
        if len(numbers) <= MAX_NODES:
            return list(numbers)
    except (TypeError, ValueError, OverflowError):
        pass
    text = f"range({', '.join(str(limit)[:20] for limit in limits[:3])})"
    raise UserError(
        f"{source}: {text}; expected at most {MAX_NODES} nodes, as range(2, 6)"
    )


def _refuse(node: ast.AST, source: str) -> NoReturn:
    line = getattr(node, "lineno", 1)
    try:
        text = ast.unparse(node)
    except RecursionError:
        text = "an expression"
    text = text if len(text) <= 40 else f"{text[:40]}..."
    raise UserError(
        f"{source}: line {line}: '{text}' is not read; expected names in quotes, "
        "numbers, lists, tuples and range(...), which are not evaluated"
    )
