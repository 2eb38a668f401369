"""How many nodes may start, and that none of the work lands on the head."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from orchestrator.clusters import shell
from orchestrator.clusters.document import Document
from orchestrator.clusters.findings import Finding, KeyPath, did_you_mean
from orchestrator.clusters.schema import shown

_REMEDY = "Correct the numbers."


def check_sizes(document: Document) -> Iterator[Finding]:
    """Numbers of workers that contradict each other, and node types that do not exist."""
    if document.text("provider", "type") == "local":
        return
    yield from _check_head_type(document)
    types, head = document.mapping("available_node_types"), document.text("head_node_type")
    for name in types:
        yield from _check_node_type(document, ("available_node_types", name), is_head=name == head)
    total = document.count("max_workers")
    minimum = sum(max(document.count("available_node_types", name, "min_workers") or 0, 0) for name in types)
    if total is None:
        expected = "the number you are ready to pay for"
        wrong = "max_workers is missing, and Ray takes 2"
        yield document.warning("default_max_workers", (), wrong=wrong, expected=expected, remedy="Add it.")
    elif minimum > total:
        wrong = f"the min_workers of all node types add up to {minimum}, above max_workers {total}"
        expected = f"at least {minimum}"
        yield document.error("sum_above_max", ("max_workers",), wrong=wrong, expected=expected, remedy=_REMEDY)
    elif types and not any(_may_start(document, name, total) for name in types if name != head):
        expected = "a node type beside the head's, and a max_workers above 0"
        wrong = "no worker can ever start"
        yield document.error("no_workers", ("max_workers",), wrong=wrong, expected=expected, remedy="Add one.")


def check_head(document: Document) -> Iterator[Finding]:
    """A head that would take work: a run there fights the driver for memory, and may end it with every worker."""
    if document.text("provider", "type") == "local":
        for path, command in document.commands("head_start_ray_commands"):
            flags = [flag for flag in ("--num-cpus", "--num-gpus") if _flag(command, flag) != "0"]
            if shell.starts_head(command) and flags:
                yield _head_takes_work(document, path, f"no {' and no '.join(f'{flag}=0' for flag in flags)}")
        return
    name = document.text("head_node_type")
    if name is None or name not in document.mapping("available_node_types"):
        return
    path = ("available_node_types", name, "resources")
    for resource in ("CPU", "GPU"):
        given = document.at(*path, resource)
        if given != 0 or isinstance(given, bool):
            wrong = f"no {resource}, which Ray then counts itself" if given is None else f"{resource}: {shown(given)}"
            yield _head_takes_work(document, path, wrong)


def _check_node_type(document: Document, path: KeyPath, *, is_head: bool) -> Iterator[Finding]:
    low, high = document.count(*path, "min_workers") or 0, document.count(*path, "max_workers")
    total = document.count("max_workers")
    for key, value in (("min_workers", low), ("max_workers", high or 0)):
        if value < 0:
            wrong = f"{key} is {value}"
            yield document.error("negative", (*path, key), wrong=wrong, expected="0 or more", remedy=_REMEDY)
        if value > 0 and is_head:
            yield _head_takes_work(document, (*path, key), f"{key} is {value}, so its kind would start as worker")
    if high is not None and low > high:
        wrong, at = f"min_workers {low} is above max_workers {high}", (*path, "min_workers")
        yield document.error("min_above_max", at, wrong=wrong, expected=f"at most {high}", remedy=_REMEDY)
    if high is not None and total is not None and high > total:
        wrong, at = f"max_workers {high} is above the cluster's max_workers {total}", (*path, "max_workers")
        yield document.warning("max_above_total", at, wrong=wrong, expected=f"at most {total}", remedy=_REMEDY)


def _may_start(document: Document, name: str, total: int) -> bool:
    high = document.count("available_node_types", name, "max_workers")
    return min(total, total if high is None else high) > 0


def _check_head_type(document: Document) -> Iterator[Finding]:
    types, head = document.mapping("available_node_types"), document.at("head_node_type")
    for key in ("available_node_types", "head_node_type"):
        if not document.at(key):
            yield document.error(
                "missing_key",
                (),
                wrong=f"{key!r} is missing",
                expected="your own; Ray falls back to its example machines or ends in an error",
                remedy=f"Add {key!r}.",
            )
    if isinstance(head, str) and types and head not in types:
        yield document.error(
            "unknown_head_type",
            ("head_node_type",),
            wrong=f"head_node_type is {head!r}",
            expected=f"one of available_node_types: {', '.join(types)}",
            remedy=did_you_mean(head, types).replace("Remove it.", "Choose one of them."),
        )
    if document.at("min_workers") is not None:
        wrong = "min_workers at the top, which Ray ignores"
        expected = "min_workers in a node type"
        yield document.warning("ignored_key", ("min_workers",), wrong=wrong, expected=expected, remedy="Move it there.")


def _head_takes_work(document: Document, path: KeyPath, wrong: str) -> Finding:
    return document.error(
        "head_takes_work",
        path,
        wrong=f"the head would take work ({wrong})",
        expected="CPU 0 and GPU 0 on the head, which keeps the driver alive",
        remedy="Set both to 0 and let workers train.",
    )


def _flag(command: str, flag: str) -> str | None:
    """The value of a flag in a command, given as `--flag=value` or `--flag value`."""
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote, which the shell will report
        words = command.split()
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.partition("=")[2].rstrip(";")
    return None
