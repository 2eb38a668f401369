"""Checkpoints of any trainer: files that are replaced under one name, and folders of files, from attempt to attempt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.execution.checkpoints import Checkpoints
from orchestrator.execution.task import Task
from orchestrator.store import ObjectMissing, Store
from orchestrator.store.local import LocalObjects

TASK = Task(
    run_id="r", attempt=0, spec={}, row={}, store="s", nonce="n", version="v", corpus="c", threads=1, gpus=0.0,
    checkpoint_seconds=1.0, micro_batch=None, stop_request="stop", lease=0,
)  # fmt: skip


class Bucket(LocalObjects):
    """Objects of a folder that has none by the name of a folder, as in a bucket."""

    def read(self, key: str) -> bytes:
        if Path(self.location, key).is_dir():
            raise ObjectMissing(key)
        return super().read(key)


class NotAFolder(Store):
    """A store that is used by its objects alone."""

    @property
    def is_folder(self) -> bool:
        return False


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(tmp_path / "store")
    return NotAFolder(tmp_path / "store", Bucket(tmp_path / "store"))


def test_the_next_attempt_finds_files_and_folders(store: Store) -> None:
    with Checkpoints(TASK, store) as first:
        first.folder.mkdir(parents=True, exist_ok=True)
        (first.folder / "newest.pt").write_text("old")
        (first.folder / "step-10" / "rank").mkdir(parents=True)
        (first.folder / "step-10" / "rank" / "0.distcp").write_text("shard")
        (first.folder / ".half").write_text("torn")
        first.bring()
        (first.folder / ".newest.pt").write_text("newer")
        (first.folder / ".newest.pt").replace(first.folder / "newest.pt")
        first.bring()
    with Checkpoints(replace(TASK, attempt=1), store) as second:
        files = [path for path in second.folder.rglob("*") if path.is_file()]
        found = {path.relative_to(second.folder).as_posix(): path.read_text() for path in files}
    assert found == {"newest.pt": "newer", "step-10/rank/0.distcp": "shard"}


def test_what_the_trainer_removed_is_removed(store: Store) -> None:
    with Checkpoints(TASK, store) as first:
        first.folder.mkdir(parents=True, exist_ok=True)
        for name in ("step-1", "step-2"):
            (first.folder / name).write_text(name)
        first.bring()
        (first.folder / "step-1").unlink()
        first.bring()
    with Checkpoints(replace(TASK, attempt=1), store) as second:
        assert [path.name for path in second.folder.iterdir()] == ["step-2"]
