"""Runs of Weights & Biases: exported tables, and the folders that the client leaves on disk.

Online runs, and offline ones of older clients, have `files/config.yaml` and `files/wandb-summary.json`. Newer clients
write an offline run into its `run-ID.wandb` alone: a LevelDB log of protobuf records, which needs the client to be read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError
from orchestrator.foreign.source import ForeignRuns

if TYPE_CHECKING:
    import pandas as pd

EXPORTED = ("Name", "State", "Runtime")
"""Columns of a table that its web page exports, whatever else there is."""

STATES = {"finished": "ok", "running": "running", "pending": "pending"}
"""Ways of a run to end, as statuses; every other one did not end well."""

_HEADER_BYTES = 7
_BLOCK_BYTES = 32 * 1024
_FRAME = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def is_export(header: list[str]) -> bool:
    """Whether a table's columns are those of an export."""
    return set(EXPORTED) <= set(header)


def run_folders(folder: Path) -> list[Path]:
    """Folders of runs at or below a folder: `run-...` and `offline-run-...`, links such as `latest-run` left out."""
    if _is_run(folder):
        return [folder]
    found = [path for path in (*folder.glob("*run-*"), *folder.glob("wandb/*run-*")) if _is_run(path)]
    return sorted(path for path in found if not path.is_symlink())


def _is_run(folder: Path) -> bool:
    return folder.is_dir() and (any(folder.glob("*.wandb")) or (folder / "files/wandb-summary.json").exists())


def from_export(frame: pd.DataFrame, name: str) -> ForeignRuns:
    """Runs from an exported table."""
    state = frame["State"].astype(str).str.lower()
    frame = frame.assign(status=state.map(STATES).fillna("error"))
    identity = "ID" if "ID" in frame else "Name" if frame["Name"].is_unique else None
    return ForeignRuns(kind="wandb", name=name, frame=frame, identity=identity)


def from_folders(folder: Path) -> ForeignRuns:
    """Runs from the client's folders: config and summary side by side, nested keys joined by a dot.

    Raises:
        SweepError: A run is in the client's binary log alone, and the client is not installed; or a file is torn.
    """
    import pandas as pd

    rows = [_run(run) for run in run_folders(folder)]
    return ForeignRuns(kind="wandb", name=str(folder), frame=pd.DataFrame(rows), identity="wandb_run")


def _run(folder: Path) -> dict[str, Any]:
    summary = folder / "files/wandb-summary.json"
    values = _from_files(folder) if summary.exists() else _from_log(next(folder.glob("*.wandb")))
    return {**values, "wandb_run": folder.name.rpartition("-")[2]}


def _from_files(folder: Path) -> dict[str, Any]:
    import yaml

    try:
        config = yaml.safe_load((folder / "files/config.yaml").read_text()) or {}
    except FileNotFoundError:
        config = {}
    except yaml.YAMLError as error:
        raise SweepError(f"{folder}/files/config.yaml is no YAML: {error}. Restore it.") from None
    try:
        summary = json.loads((folder / "files/wandb-summary.json").read_text())
    except ValueError as error:
        raise SweepError(f"{folder}/files/wandb-summary.json is torn: {error}. Restore it, or leave it out.") from None
    said = {key: one.get("value") if isinstance(one, dict) else one for key, one in config.items() if key != "_wandb"}
    return {**_flat(said), **_flat(summary)}


def _from_log(path: Path) -> dict[str, Any]:
    """Config and summary of a binary log, which may end anywhere."""
    try:
        from wandb.proto import wandb_internal_pb2 as protocol
    except ImportError:
        raise SweepError(
            f"{path} is readable by the wandb package alone, which is not installed; expected "
            "files/wandb-summary.json beside it. pip install 'isoflop[trackers]', or export the runs as CSV."
        ) from None
    values: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for data in _frames(path.read_bytes()):
        record = protocol.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            values.update(_items(record.run.config.update))
        elif kind == "config":
            values.update(_items(record.config.update))
        elif kind == "history":
            summary.update(_items(record.history.item))
        elif kind == "summary":
            summary.update(_items(record.summary.update))
    values.pop("_wandb", None)
    return {**_flat(values), **_flat(summary)}


def _items(items: Any) -> dict[str, Any]:
    """Keys and values of a record; a nested key is a list of names."""
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _frames(data: bytes) -> Iterator[bytes]:
    """Records of a LevelDB log after the client's own header; one that was cut off at the end is left out."""
    position, parts = _HEADER_BYTES, b""
    while position + _FRAME.size <= len(data):
        room = _BLOCK_BYTES - position % _BLOCK_BYTES
        if room < _FRAME.size:  # the rest of a block is padding
            position += room
            continue
        _, length, kind = _FRAME.unpack_from(data, position)
        begin = position + _FRAME.size
        body = data[begin : begin + length]
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or len(body) < length:
            return
        parts = body if kind in (_FULL, _FIRST) else parts + body
        if kind in (_FULL, _LAST):
            yield parts
        position = begin + length


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by a dot, as the web page shows them; the client's own keys left out."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if not prefix and str(key).startswith("_"):
            continue
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
