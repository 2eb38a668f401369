"""What of a GPU each run is given, and what follows where it does not suffice: on Ray's logical GPUs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import load_sweep, run
from orchestrator.errors import CapacityError
from orchestrator.execution.inline import InlineLauncher
from orchestrator.observing import Result
from orchestrator.running import Options
from orchestrator.sharing import MOST_TOGETHER, prepare, share_of
from orchestrator.store import Store
from orchestrator.sweep import Resources
from trainer import AdamW, Data, RunSpec, Schedule, Transformer
from trainer.memory import device_bytes

SUPPORT = Path(__file__).resolve().parents[1] / "support"
AUTO = Resources.model_validate({"gpus": "auto"})

SPEC = RunSpec(
    model=Transformer(layers=8, width=512, heads=8, ffn_width=2048, vocab=256, context=512),
    data=Data(corpus="c", heldout_tokens=64),
    steps=10,
    batch_contexts=8,
    optimizer=AdamW(learning_rate=0.01),
    schedule=Schedule(warmup_steps=1, decay_steps=9),
)


@pytest.mark.parametrize("together", [1, 2, 3, 6, 7, 16])
def test_as_many_runs_share_a_gpu_as_fit(together: int) -> None:
    share = share_of(SPEC, AUTO, together * device_bytes(SPEC) + 1)
    assert share.micro_batch is None
    in_rays_units = round(share.gpus * 10_000)
    assert in_rays_units * together <= 10_000 < in_rays_units * (together + 1)


def test_small_runs_do_not_crowd_a_gpu() -> None:
    tiny = replace(SPEC, model=Transformer(layers=1, width=8, heads=1, ffn_width=32, vocab=256, context=64))
    assert share_of(tiny, AUTO, 141e9).gpus == 1 / MOST_TOGETHER


def test_what_a_whole_gpu_cannot_hold_begins_in_parts() -> None:
    assert share_of(SPEC, AUTO, device_bytes(SPEC, 2)) == replace(share_of(SPEC, AUTO, 1e9), micro_batch=2)
    assert share_of(SPEC, AUTO, 1e8).micro_batch == 1  # tried all the same: the model may be wrong


def test_a_number_of_gpus_is_taken_as_it_is() -> None:
    assert share_of(SPEC, Resources(gpus=0.3), None).gpus == 0.3
    assert prepare(Resources(gpus=0.3), InlineLauncher(Resources()), [SPEC]) is None


def test_memory_that_nobody_tells_is_asked_for() -> None:
    with pytest.raises(CapacityError, match=r"no node tells how much memory.*Set resources.gpu_memory"):
        prepare(AUTO, InlineLauncher(Resources()), [SPEC])
    known = Resources.model_validate({"gpus": "auto", "gpu_memory": 24e9})
    assert prepare(known, InlineLauncher(Resources()), [SPEC]) == 24e9


# --- on Ray


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A head that takes no work, and two nodes of two logical GPUs each."""
    with tempfile.TemporaryDirectory(prefix="isoflop-ray-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", None)
        patch.setenv("PYTHONPATH", f"{SUPPORT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        from ray.cluster_utils import Cluster

        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            started.add_node(num_cpus=8, num_gpus=2)
        yield started.address
        started.shutdown()


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    (tmp_path / "tiny.yaml").write_text((SUPPORT / "tiny.yaml").read_text())
    return tmp_path / "tiny.yaml"


def drive(address: str, sweep: Path, *settings: str, **options: Any) -> tuple[Result, Store]:
    store = sweep.parent / "store"
    return run(load_sweep(sweep, settings), store, Options(address=address, **options)), Store(store)


def devices(store: Store) -> list[str]:
    """The device that each committed run names."""
    commits = (store.commit(name.removesuffix(".json")) for name in store.objects.names("commits"))
    return [commit["row"]["numerics"].partition(" torch=")[0] for commit in commits if commit]


@pytest.mark.ray
def test_a_command_sees_as_many_gpus_as_it_asked_for(address: str, sweep: Path) -> None:
    words = json.dumps({"command": ["{python}", str(SUPPORT / "tiny_command.py"), "devices"]})
    result, store = drive(address, sweep, f"trainer={words}", "resources={gpus: 2}")
    assert result.counts == {"ok": 6}
    assert {device.removeprefix("cuda:").count(",") + 1 for device in devices(store)} == {2}
    assert "none" not in str(devices(store))


@pytest.mark.ray
def test_gpus_of_two_nodes_are_not_gpus_of_one(address: str, sweep: Path) -> None:
    with pytest.raises(CapacityError, match=r"ask for 3 GPU; the cluster has CPU: 16, GPU: 4 \(2 GPU on one node\)"):
        drive(address, sweep, "trainer={command: [sh]}", "resources={gpus: 3}")


@pytest.mark.ray
def test_runs_share_gpus_by_the_memory_model(address: str, sweep: Path) -> None:
    seen: list[int] = []
    result, store = drive(
        address, sweep, "trainer=tiny_trainer:say_gpus", "resources={gpus: auto, gpu_memory: 2e9}",
        announce=lambda plan, left, slots: seen.append(slots),
    )  # fmt: skip
    assert result.counts == {"ok": 6}
    shares = {float(device.removeprefix("cuda ")) for device in devices(store)}
    assert shares == {0.3333}  # a process takes .63 GB before its first tensor, and these models next to nothing
    assert seen == [12]


@pytest.mark.ray
def test_a_run_without_memory_is_made_smaller_then_alone(address: str, sweep: Path) -> None:
    settings = ("trainer=tiny_trainer:need_a_whole_gpu", "resources={gpus: auto, gpu_memory: 2e9}", "budgets=[1e8]")
    result, store = drive(address, sweep, *settings)
    assert result.counts == {"ok": 3}
    assert set(devices(store)) == {"cuda 1"}
    for name in store.objects.names("attempts"):
        reasons = [
            json.loads(store.objects.read(f"attempts/{name}/{each}"))["reason"] for each in _attempts(store, name)
        ]
        assert reasons == [f"no room for {windows} windows on 0.3333 GPU" for windows in (4, 2, 1)]


@pytest.mark.ray
def test_what_fits_nowhere_ends_with_the_size_it_would_need(address: str, sweep: Path) -> None:
    settings = ("trainer=tiny_trainer:never_fit", "resources={gpus: auto, gpu_memory: 2e9}", "budgets=[1e8]")
    result, store = drive(address, sweep, *settings, "sizes.shapes=[{width: 8}]")
    assert result.counts == {"oom": 1}
    (name,) = store.objects.names("attempts")
    last = json.loads(store.objects.read(f"attempts/{name}/{_attempts(store, name)[-1]}"))
    assert len(_attempts(store, name)) == 4
    assert last["final"]
    assert "needs about" in last["reason"]


@pytest.mark.ray
def test_a_cluster_that_does_not_tell_its_memory(address: str, sweep: Path) -> None:
    """Logical GPUs have none."""
    with pytest.raises(CapacityError, match="no node tells"):
        drive(address, sweep, "trainer=tiny_trainer:say_gpus", "resources={gpus: auto}")


def _attempts(store: Store, name: str) -> list[str]:
    return sorted(store.objects.names(f"attempts/{name}"))
