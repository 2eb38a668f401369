"""Checkpoints that are torn, foreign, or newer than another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer import CheckpointError
from trainer.checkpoint import KEEP, Checkpoint, newest, read, write


def make(step: int, run_id: str = "run", signature: str = "cpu") -> Checkpoint:
    tensors = {"parameters": torch.arange(50, dtype=torch.float32) + step, "first": torch.full((3,), -0.0)}
    return Checkpoint(run_id=run_id, signature=signature, step=step, tensors=tensors, values={"smoothed": "0x1p+0"})


def test_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = write(tmp_path / "new", make(7))
    found = read(path)
    assert (found.run_id, found.signature, found.step, found.values) == ("run", "cpu", 7, {"smoothed": "0x1p+0"})
    for name, tensor in make(7).tensors.items():
        assert torch.equal(found.tensors[name].view(torch.int32), tensor.view(torch.int32))


def test_keeps_the_newest(tmp_path: Path) -> None:
    for step in (3, 10, 200):
        write(tmp_path, make(step))
    assert len(list(tmp_path.iterdir())) == KEEP
    found = newest(tmp_path, run_id="run", signature="cpu")
    assert found is not None
    assert found.step == 200
    assert newest(tmp_path / "none", run_id="run", signature="cpu") is None


@pytest.mark.parametrize("damage", ["empty", "short", "zeros", "flipped"])
def test_a_torn_one_is_passed_over(tmp_path: Path, damage: str) -> None:
    write(tmp_path, make(1))
    path = write(tmp_path, make(2))
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-5] ^= 1
    path.write_bytes({"empty": b"", "short": content[:-9], "zeros": bytes(len(content))}.get(damage, bytes(content)))
    with pytest.raises(CheckpointError, match="is torn"):
        read(path)
    found = newest(tmp_path, run_id="run", signature="cpu")
    assert found is not None
    assert found.step == 1


def test_another_runs_is_refused_and_other_numerics_are_not_continued(tmp_path: Path) -> None:
    write(tmp_path, make(5))
    assert newest(tmp_path, run_id="run", signature="cuda") is None
    with pytest.raises(CheckpointError, match="belongs to run run; expected other"):
        newest(tmp_path, run_id="other", signature="cpu")
