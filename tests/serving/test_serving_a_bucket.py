"""The live page of a store in a bucket, against a real S3 server: progress, report and queries, read through the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import s3
from werkzeug.test import Client

from orchestrator.errors import StoreError
from orchestrator.serving.guard import Guard
from orchestrator.serving.live import LiveReport, make_report, store_version
from orchestrator.serving.server import open_server
from orchestrator.serving.site import Site
from orchestrator.serving.sql import Queries
from orchestrator.store import Store


@pytest.fixture(scope="module")
def bucket(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The store of the smoke preset, copied into a bucket, and the environment that reaches it."""
    with s3.server() as port, pytest.MonkeyPatch.context() as patch:
        s3.make_bucket(port, "isoflop")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for name, value in (s3.CREDENTIALS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}).items():
            patch.setenv(name, value)
        objects = Store("s3://isoflop/smoke").objects
        for path in small_store.rglob("*"):
            if path.is_file():
                objects.create(str(path.relative_to(small_store)), path.read_bytes())
        yield "s3://isoflop/smoke"


@pytest.fixture
def browser(bucket: str) -> Client:
    guard = Guard(token="correct-horse", cookie="isoflop-1234")
    site = Site(bucket, guard, LiveReport(bucket, make_report), Queries(bucket))
    client = Client(site)
    assert client.get("/?token=correct-horse").status_code == 303
    return client


def test_progress_and_report_of_a_bucket(browser: Client, bucket: str) -> None:
    page = browser.get("/")
    assert page.status_code == 200
    assert "8 ok" in page.text
    report = browser.get("/report")
    assert report.status_code == 200
    assert "IsoFLOP curves" in report.text
    assert report.headers["Isoflop-Report"] == store_version(bucket)


def test_a_query_of_a_bucket_is_confined_and_answered(browser: Client) -> None:
    answer = browser.post("/sql", data={"sql": "select count(*) as runs_there from runs where status = 'ok'"})
    assert answer.status_code == 200
    assert "runs_there" in answer.text
    assert "<td>8</td>" in answer.text
    refused = browser.post("/sql", data={"sql": "select * from read_csv('/etc/passwd')"})
    assert "root:" not in refused.text


def test_a_bucket_without_a_store_is_said(bucket: str) -> None:
    with pytest.raises(StoreError, match="not a store"):
        open_server("s3://isoflop/nothing")


def test_serving_a_bucket_writes_nothing_to_it(browser: Client, bucket: str) -> None:
    objects = Store(bucket).objects
    before = {folder: objects.names(folder) for folder in ("", "commits", "tables", "requests", "driver")}
    for path in ("/", "/status", "/report", "/sql"):
        browser.get(path)
    assert {folder: objects.names(folder) for folder in before} == before
