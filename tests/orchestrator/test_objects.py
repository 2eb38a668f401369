"""What every kind of objects must do, on disk and in a bucket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import gcs
import pytest
import s3

from orchestrator.errors import InfrastructureError, StoreError
from orchestrator.execution.trunks import prune, shared_folder
from orchestrator.store.bucket import BucketObjects
from orchestrator.store.local import LocalObjects
from orchestrator.store.objects import ObjectExists, ObjectMissing, Objects, open_objects
from orchestrator.store.store import Store

WRITE = {"s3": "PUT", "gs": "POST"}
"""The request that makes an object, by service."""


@pytest.fixture(scope="module")
def s3_proxy() -> Iterator[s3.Proxy]:
    with s3.server() as port:
        s3.make_bucket(port, "isoflop")
        started = s3.Proxy(port)
        yield started
        started.close()


@pytest.fixture(scope="module")
def gs_proxy() -> Iterator[s3.Proxy]:
    with gcs.server() as port:
        gcs.make_bucket(port, "isoflop")
        started = s3.Proxy(port)
        yield started
        started.close()


def proxy_of(service: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> s3.Proxy:
    """The proxy before a service, to which clients are sent from now on."""
    found: s3.Proxy = request.getfixturevalue(f"{service}_proxy")
    found.forgive()
    variables = s3.CREDENTIALS | {"AWS_ENDPOINT_URL": found.url} if service == "s3" else {gcs.VARIABLE: found.url}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return found


def bucket_of(service: str, tmp_path: Path) -> BucketObjects:
    return BucketObjects(f"{service}://isoflop/{tmp_path.name}", pause=lambda seconds: None)


@pytest.fixture(params=WRITE)
def service(request: pytest.FixtureRequest) -> str:
    """The scheme of a service."""
    name: str = request.param
    return name


@pytest.fixture
def proxy(service: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> s3.Proxy:
    return proxy_of(service, request, monkeypatch)


@pytest.fixture
def bucket(service: str, proxy: s3.Proxy, tmp_path: Path) -> BucketObjects:
    return bucket_of(service, tmp_path)


@pytest.fixture(params=["local", *WRITE])
def objects(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    if request.param == "local":
        return LocalObjects(tmp_path / "store")
    proxy_of(request.param, request, monkeypatch)
    return bucket_of(request.param, tmp_path)


def test_an_object_is_created_once(objects: Objects) -> None:
    objects.create("commits/a.json", b"first")
    with pytest.raises(ObjectExists):
        objects.create("commits/a.json", b"second")
    assert objects.read("commits/a.json") == b"first"


def test_several_objects_are_created_at_once_each_of_them_once(objects: Objects) -> None:
    wanted = {f"proposals/{number:08d}.json": b"%d" % number for number in range(20)}
    objects.create_all(wanted)
    assert {key: objects.read(key) for key in wanted} == wanted
    with pytest.raises(ObjectExists, match="00000003"):
        objects.create_all({"proposals/00000003.json": b"another", "proposals/00000020.json": b"20"})
    assert objects.read("proposals/00000003.json") == b"3"
    assert objects.names("tmp") == []


def test_of_many_writers_exactly_one_wins(objects: Objects) -> None:
    won: list[bytes] = []

    def write(name: bytes) -> None:
        try:
            objects.create("driver/0.json", name)
            won.append(name)
        except ObjectExists:
            pass

    threads = [threading.Thread(target=write, args=(b"%d" % number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [objects.read("driver/0.json")]


def test_replace_shows_the_new_content(objects: Objects) -> None:
    objects.replace("tables/runs/runs.parquet", b"one")
    objects.replace("tables/runs/runs.parquet", b"two", durable=False)
    assert objects.read("tables/runs/runs.parquet") == b"two"


def test_names_are_those_directly_below(objects: Objects) -> None:
    assert objects.names("attempts") == []
    objects.create("attempts/b/0000.json", b"1")
    objects.create("attempts/a/0000.json", b"2")
    objects.create("attempts/a/0001.json", b"3")
    assert objects.names("attempts") == ["a", "b"]
    assert objects.names("attempts/a") == ["0000.json", "0001.json"]
    assert objects.names("attempts/c") == []


def test_what_is_missing_is_said_so(objects: Objects) -> None:
    assert not objects.exists("store.json")
    with pytest.raises(ObjectMissing):
        objects.read("store.json")
    objects.create("store.json", b"{}")
    assert objects.exists("store.json")


def test_delete_is_no_error_where_there_is_nothing(objects: Objects) -> None:
    objects.create("requests/cancel", b"")
    objects.delete("requests/cancel")
    objects.delete("requests/cancel")
    assert not objects.exists("requests/cancel")
    objects.create("checkpoints/a/0/step", b"")
    objects.delete_folder("checkpoints/a")
    objects.delete_folder("checkpoints/a")
    assert objects.names("checkpoints/a") == []


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "a/../../b"])
def test_no_key_leaves_the_store(objects: Objects, key: str) -> None:
    with pytest.raises(StoreError, match="leaves the store"):
        objects.create(key, b"")


def test_another_process_finds_the_same_objects(objects: Objects) -> None:
    objects.create("store.json", b"{}")
    assert open_objects(objects.location).read("store.json") == b"{}"


def test_a_store_proves_that_its_place_refuses_a_second_create(objects: Objects) -> None:
    store = Store("", objects)
    store.initialise()
    nonce = store.header()["nonce"]
    store.initialise()
    assert store.header()["nonce"] == nonce
    assert objects.names("tmp") == []


class Overwriting(LocalObjects):
    """A place whose create overwrites, as a bucket without conditional writes does."""

    def create(self, key: str, data: bytes) -> None:
        self.replace(key, data)


def test_a_place_that_overwrites_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="overwrote an object"):
        Store("", Overwriting(tmp_path)).initialise()


def test_an_unknown_url_is_refused() -> None:
    with pytest.raises(StoreError, match="http is not supported"):
        open_objects("http://somewhere/store")


def test_a_place_that_is_no_folder_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "commits").write_bytes(b"a file")
    with pytest.raises(InfrastructureError, match="what was committed is safe"):
        LocalObjects(tmp_path).create("commits/a.json", b"")


def test_whatever_is_asked_takes_one_request(service: str, bucket: BucketObjects, proxy: s3.Proxy) -> None:
    assert not bucket.exists("requests/cancel")
    bucket.create("requests/cancel", b"")
    assert bucket.exists("requests/cancel")
    assert bucket.read("requests/cancel") == b""
    assert [request.partition(" ")[0] for request in proxy.served] == ["GET", WRITE[service], "GET", "GET"]


# --- a service that fails


@pytest.mark.parametrize("fault", ["503", "409", "500", "drop", "forget"])
def test_a_request_is_tried_again(service: str, bucket: BucketObjects, proxy: s3.Proxy, fault: str) -> None:
    times = 3 if service == "s3" else 1  # gcsfs waits for seconds between its own tries
    proxy.fail(WRITE[service], "commits/a.json", fault, times)
    bucket.create("commits/a.json", b"mine")
    assert len(proxy.struck) == times
    assert bucket.read("commits/a.json") == b"mine"


@pytest.mark.parametrize("fault", ["503", "forget"])
def test_somebody_elses_object_is_not_taken_for_ours(
    service: str, bucket: BucketObjects, proxy: s3.Proxy, fault: str
) -> None:
    bucket.create("commits/a.json", b"theirs")
    proxy.fail(WRITE[service], "commits/a.json", fault)
    with pytest.raises(ObjectExists):
        bucket.create("commits/a.json", b"mine")
    assert proxy.struck
    assert bucket.read("commits/a.json") == b"theirs"


def test_a_service_that_does_not_serve_is_one_message(service: str, bucket: BucketObjects, proxy: s3.Proxy) -> None:
    """A write is in test_a_service_that_is_down_stops_the_sweep_with_one_message."""
    bucket.create("commits/a.json", b"mine")
    proxy.fail("GET", "commits", "503" if service == "s3" else "403", times=1000)  # gcsfs tries a 503 for half a minute
    with pytest.raises(InfrastructureError, match="what was committed is safe"):
        bucket.read("commits/a.json")


@pytest.mark.parametrize("fault", ["401", "403"])
def test_a_service_that_refuses_is_not_asked_again(
    service: str, bucket: BucketObjects, proxy: s3.Proxy, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy.fail(WRITE[service], "commits", fault, times=1000)
    with pytest.raises(InfrastructureError, match="Check access"):
        bucket.create("commits/a.json", b"mine")
    assert len(proxy.struck) == 1
    assert capfd.readouterr().err == ""


def test_a_bucket_that_is_not_there_is_one_message(service: str, proxy: s3.Proxy) -> None:
    with pytest.raises(StoreError, match="no such bucket"):
        BucketObjects(f"{service}://nowhere/store", pause=lambda seconds: None).create("store.json", b"{}")


def test_states_of_a_trunk_are_brought_to_the_next_branch_and_pruned(objects: Objects) -> None:
    store = Store(objects.location, objects)
    for step, found in ((40, []), (80, ["step-040"]), (60, ["step-040"]), (90, ["step-080"])):
        with shared_folder(("t", step), store) as folder:
            assert folder is not None
            folder.mkdir(parents=True, exist_ok=True)
            usable = sorted(path.name for path in folder.iterdir() if path.name <= f"step-{step:03d}")
            assert usable[-1:] == found
            (folder / f"step-{step:03d}").write_bytes(b"state")
    assert sorted(objects.names("trunks/t")) == ["step-040", "step-060", "step-080", "step-090"]
    prune(store)
    assert objects.names("trunks/t") == ["step-090"]
    with shared_folder(None, store) as nothing:
        assert nothing is None
