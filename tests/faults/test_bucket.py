"""Sweeps in buckets of real servers, S3's and Google's, behind a proxy that refuses or loses requests, or loses answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gcs
import pandas as pd
import pytest
import s3
from cells import HERE as SUPPORT
from cells import CellServer
from oracle import PASSING, TRANSIENT, results

from orchestrator.ledger import Ledger
from orchestrator.query import query
from orchestrator.status import status
from orchestrator.store import Store
from orchestrator.store.contents import read_contents

CELLS = {
    "plan": ("store.json", "forget"),
    "plan (sweep)": ("sweeps/", "drop"),
    "lease": ("driver/", "forget"),
    "propose": ("proposals/", "forget"),
    "propose (conflict)": ("proposals/", "409"),
    "heartbeat": ("progress/", "drop"),
    "commit": ("commits/", "forget"),
    "commit (refused)": ("commits/", "503"),
    "commit (conflict)": ("commits/", "409"),
    "compaction": ("tables/runs", "503"),
    "compaction (curves)": ("tables/curves", "drop"),
    "event": ("events/", "503"),
}
"""Which object's request is struck, by step, and how: refused, lost, or `forget`, a timeout after success, which makes
the next try a 412."""

GOOGLE = ("propose", "commit", "commit (refused)")
"""Steps that are struck on Google Cloud Storage, too."""

WRITE = {"s3": "PUT", "gs": "POST"}
"""The request that makes an object, by service."""


@pytest.fixture(scope="module", params=WRITE)
def service(request: pytest.FixtureRequest) -> str:
    """The scheme of a service."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def proxy(service: str) -> Iterator[s3.Proxy]:
    program = s3 if service == "s3" else gcs
    with program.server() as port:
        program.make_bucket(port, "isoflop")
        started = s3.Proxy(port)
        yield started
        started.close()


@pytest.fixture(scope="module")
def variables(service: str, proxy: s3.Proxy) -> dict[str, str]:
    """What sends a client to the service."""
    return s3.CREDENTIALS | {"AWS_ENDPOINT_URL": proxy.url} if service == "s3" else {gcs.VARIABLE: proxy.url}


@pytest.fixture(scope="module")
def remote(variables: dict[str, str], home: Path, service: str) -> Iterator[CellServer]:
    with CellServer(**variables, XDG_CACHE_HOME=str(home / f"cache-{service}")) as started:
        yield started


@pytest.fixture
def bucket(
    service: str, proxy: s3.Proxy, variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy.forgive()
    return f"{service}://isoflop/{tmp_path.name}"


def check(url: str, reference: Path) -> None:
    store = Store(url)
    contents = read_contents(store)
    table = Ledger(contents).table().to_pandas().set_index("run_id").sort_index().drop(columns=PASSING)
    pd.testing.assert_frame_equal(table, results(reference), check_exact=True)
    assert len(contents.settled) == 6, "the table in the bucket is complete"
    assert len(store.objects.names("proposals")) == len(store.objects.names("commits")) == 6
    assert not [name for folder in TRANSIENT for name in store.objects.names(folder)], "no leftovers"


STEPS = [("s3", step) for step in CELLS] + [("gs", step) for step in GOOGLE]


@pytest.mark.parametrize(("service", "step"), STEPS, indirect=["service"])
def test_a_request_that_fails_changes_nothing(
    service: str, step: str, remote: CellServer, proxy: s3.Proxy, sweep: Path, bucket: str, reference: Path
) -> None:
    proxy.fail(WRITE[service], *CELLS[step])
    ended = remote.run(sweep=str(sweep), settings=[], store=bucket)
    assert ended == {"code": 0, "message": None, "counts": {"ok": 6}}
    assert proxy.struck
    check(bucket, reference)


@pytest.mark.parametrize(
    ("service", "fault"),
    [
        ("s3", "proposals.after_link=kill@3"),
        ("s3", "commits.after_link=kill@2"),
        ("s3", "checkpoint.after=kill@2"),
        ("gs", "commits.after_link=kill@2"),
    ],
    indirect=["service"],
)
def test_a_killed_driver_is_continued(
    service: str, fault: str, remote: CellServer, sweep: Path, bucket: str, reference: Path
) -> None:
    ended = remote.run(sweep=str(sweep), settings=[], store=bucket, faults=fault)
    assert ended["code"] == -9
    assert remote.run(sweep=str(sweep), settings=[], store=bucket)["counts"] == {"ok": 6}
    check(bucket, reference)


def test_a_checkpoint_outlives_its_machine(
    remote: CellServer, sweep: Path, bucket: str, reference: Path, work: Path
) -> None:
    """An attempt that is told to stop leaves its checkpoint in the bucket, and the next driver goes on from there."""
    request = {"sweep": str(sweep), "settings": [], "store": bucket, "environment": {"TINY_TRAINER_WORK": str(work)}}
    stopped = remote.run(**request, faults="train.step=terminate@9")
    assert stopped["code"] == 130
    assert len(Store(bucket).objects.names("checkpoints")) == 1
    assert remote.run(**request)["counts"] == {"ok": 6}
    assert sum(path.stat().st_size for path in work.iterdir()) == results(reference)["steps"].sum()
    check(bucket, reference)


def test_a_bucket_is_read_like_a_folder(
    remote: CellServer,
    proxy: s3.Proxy,
    sweep: Path,
    bucket: str,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remote.run(sweep=str(sweep), settings=[], store=bucket)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    proxy.forgive()
    assert status(bucket)["counts"] == {"ok": 6}
    assert not [request for request in proxy.served if request.endswith(".bin")], "the text is not brought"
    sql = "select run_id, loss from runs order by run_id"
    assert query(bucket, sql).equals(query(str(reference), sql))
    counted = "select run_id, count(*) n, max(train_loss) m from curves group by run_id order by run_id"
    assert query(bucket, counted).equals(query(str(reference), counted))
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [Path(sys.executable).parent / "isoflop", "run", sweep, "--store", bucket, "--inline"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / bucket.rpartition("/")[2] / "report.html").exists()


@pytest.mark.slow
def test_a_service_that_is_down_stops_the_sweep_with_one_message(
    service: str, remote: CellServer, proxy: s3.Proxy, sweep: Path, bucket: str, reference: Path
) -> None:
    proxy.fail(WRITE[service], "commits/", "503", times=1000)
    ended = remote.run(sweep=str(sweep), settings=[], store=bucket)
    assert ended["code"] == 3
    assert "what was committed is safe" in ended["message"]
    proxy.forgive()
    assert remote.run(sweep=str(sweep), settings=[], store=bucket)["counts"] == {"ok": 6}
    check(bucket, reference)
