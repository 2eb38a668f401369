"""A YAML file with the line of every key, read so that later checks may assume nothing and still never fail."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.clusters.findings import Finding, KeyPath, Severity, dotted

MAX_NODES = 100_000
"""YAML nodes after aliases are expanded; chosen: a cluster file has some hundred, a file of nested aliases billions."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """One YAML document: plain values, and where each stands.

    The accessors give an empty value where the file has something of another type: the schema reports the
    type once, and every other check goes on with what there is.
    """

    root: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def at(self, *path: str | int) -> Any:
        """The value at a path; None where it is missing or null."""
        value: Any = self.root
        for key in path:
            if isinstance(value, dict) and isinstance(key, str):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value):
                value = value[key]
            else:
                return None
        return value

    def mapping(self, *path: str | int) -> dict[str, Any]:
        """The mapping at a path; empty where there is none."""
        value = self.at(*path)
        return value if isinstance(value, dict) else {}

    def items(self, *path: str | int) -> list[Any]:
        """The list at a path; empty where there is none."""
        value = self.at(*path)
        return value if isinstance(value, list) else []

    def text(self, *path: str | int) -> str | None:
        """The text at a path; None where there is none, or an empty one."""
        value = self.at(*path)
        return value if isinstance(value, str) and value else None

    def count(self, *path: str | int) -> int | None:
        """The whole number at a path; None where there is none."""
        value = self.at(*path)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def commands(self, key: str) -> list[tuple[KeyPath, str]]:
        """The shell commands below a key at the top, each with its path."""
        return [((key, index), text) for index, text in enumerate(self.items(key)) if isinstance(text, str)]

    def strings(self) -> Iterator[tuple[KeyPath, str]]:
        """Every text in the document, with its path."""
        yield from _strings(self.root, ())

    def error(self, code: str, path: KeyPath, *, wrong: str, expected: str, remedy: str) -> Finding:
        """A finding that the cluster would fail on, pay for, or be open through."""
        return self._finding("error", code, path, wrong=wrong, expected=expected, remedy=remedy)

    def warning(self, code: str, path: KeyPath, *, wrong: str, expected: str, remedy: str) -> Finding:
        """A finding to be looked at."""
        return self._finding("warning", code, path, wrong=wrong, expected=expected, remedy=remedy)

    def _finding(
        self, severity: Severity, code: str, path: KeyPath, *, wrong: str, expected: str, remedy: str
    ) -> Finding:
        """A finding at the line of its path, or of the nearest key above that is in the file."""
        known = next((path[:end] for end in range(len(path), 0, -1) if path[:end] in self.lines), ())
        return Finding(
            severity=severity,
            code=code,
            where=dotted(path),
            line=self.lines.get(known),
            wrong=wrong,
            expected=expected,
            remedy=remedy,
        )


def load_documents(path: Path) -> tuple[list[Document], list[Finding]]:
    """Read the YAML documents of a file.

    Args:
        path: The file; read as UTF-8, safe-loaded.

    Returns:
        The documents that are mappings, and what is wrong with the file itself. Where there is no document there
        is at least one error.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [], [_unreadable("missing_file", f"{path} does not exist", "the path of a cluster file", "Check it.")]
    except (OSError, UnicodeDecodeError) as error:
        return [], [_unreadable("unreadable", f"{path} cannot be read ({error})", "a UTF-8 text file", "Check it.")]
    try:
        return _parse(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        wrong, line = f"not YAML: {problem}", mark.line + 1 if mark else None
        return [], [_unreadable("not_yaml", wrong, "YAML without custom tags", "Correct the file there.", line)]
    except (ValueError, RecursionError) as error:
        wrong = f"not usable as YAML: {str(error) or type(error).__name__}"
        return [], [_unreadable("not_yaml", wrong, "plain values", "Correct the file.")]


def _parse(text: str) -> tuple[list[Document], list[Finding]]:
    documents: list[Document] = []
    findings: list[Finding] = []
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node() and (node := loader.get_node()) is not None:
            _refuse_explosion(node)
            lines: dict[KeyPath, int] = {}
            findings += _walk(node, (), lines, set())
            value = _plain(loader.construct_document(node))
            if isinstance(value, dict):
                documents.append(Document(root=value, lines=lines))
            elif value is not None:
                findings.append(_not_a_mapping(value, node.start_mark.line + 1))
    finally:
        loader.dispose()
    if not documents and not findings:
        findings.append(_unreadable("empty", "the file is empty", "a mapping of settings", "Start from cluster.yaml."))
    return documents, findings


def _walk(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], seen: set[int]) -> Iterator[Finding]:
    """Note the line of every key once per node (an alias keeps its anchor's), and report keys that YAML would lose."""
    lines.setdefault(path, node.start_mark.line + 1)
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield from _walk(child, (*path, index), lines, seen)
    elif isinstance(node, yaml.MappingNode):
        keys: dict[str, int] = {}
        for key, child in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in keys:
                yield _duplicate(dotted((*path, name)), keys[name], line)
            elif name != "<<" and key.tag != "tag:yaml.org,2002:str":
                yield _not_text(dotted(path), name, line)
            keys.setdefault(name, line)
            lines[(*path, name)] = line
            yield from _walk(child, (*path, name), lines, seen)


def _refuse_explosion(root: yaml.Node) -> None:
    """Raise ValueError for a document that contains itself, or that aliases blow up beyond `MAX_NODES`."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MAX_NODES  # what a node counts inside itself
            children = [c for pair in node.value for c in pair] if isinstance(node, yaml.MappingNode) else node.value
            sizes[id(node)] = 1 + (sum(map(size, children)) if isinstance(node, yaml.CollectionNode) else 0)
        return sizes[id(node)]

    if size(root) >= MAX_NODES:
        raise ValueError(f"aliases expand it to {MAX_NODES:,} values or more")


def _plain(value: Any) -> Any:
    """The value with text keys, and with dates as the text they were written as."""
    if isinstance(value, dict):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_plain(child) for child in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


def _strings(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from _strings(child, (*path, key))


def _unreadable(code: str, wrong: str, expected: str, remedy: str, line: int | None = None) -> Finding:
    return Finding(severity="error", code=code, line=line, wrong=wrong, expected=expected, remedy=remedy)


def _not_a_mapping(value: object, line: int) -> Finding:
    wrong = f"the file holds a {type(value).__name__}"
    return _unreadable("not_a_mapping", wrong, "a mapping of settings", "Start from cluster.yaml.", line)


def _duplicate(where: str, first: int, line: int) -> Finding:
    wrong = f"{where} is given twice, first on line {first}"
    return _unreadable("duplicate_key", wrong, "each key once, since YAML keeps the last", "Remove one of them.", line)


def _not_text(where: str, name: str, line: int) -> Finding:
    wrong = f"the key {name!r} below {where or 'the top'} is not text to YAML"
    return _unreadable("key_not_text", wrong, "text", f'Quote it: "{name}".', line)
