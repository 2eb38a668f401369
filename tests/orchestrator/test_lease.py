"""One driver per store, whoever dies and whatever the clocks say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from processes import wait_until

from orchestrator import failpoints
from orchestrator.errors import StoreBusy
from orchestrator.store.lease import acquire, holder, this_process
from orchestrator.store.local import LocalObjects


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path)


def hold(objects: LocalObjects, number: int, **changes: object) -> None:
    """Write a lease as another driver would have."""
    other = replace(this_process(), **changes)  # type: ignore[arg-type]
    objects.create(f"driver/{number:06d}.json", json.dumps(asdict(other)).encode())


def test_a_second_driver_is_refused_with_who_holds_it(objects: LocalObjects) -> None:
    lease = acquire(objects)
    with pytest.raises(StoreBusy, match=rf"another driver \(pid {os.getpid()} on "):
        acquire(objects)
    found = holder(objects)
    assert found is not None
    assert found.pid == os.getpid()
    lease.release()
    assert holder(objects) is None


def test_a_released_store_is_free(objects: LocalObjects) -> None:
    acquire(objects).release()
    second = acquire(objects)
    assert second.number == 1
    second.release()
    assert objects.names("driver") == ["000001.json", "000001.renewal"]


def test_a_dead_process_of_this_machine_holds_nothing(objects: LocalObjects) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    hold(objects, 4, pid=child.pid)
    assert holder(objects) is None
    acquire(objects).release()


def test_a_pid_that_was_given_to_another_process_holds_nothing(objects: LocalObjects) -> None:
    hold(objects, 0, started=1)
    acquire(objects).release()


def standing_still(seconds: float) -> None:
    """Time passes and nothing happens."""


@pytest.mark.parametrize("since", ["1999-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"])
def test_a_driver_elsewhere_is_dead_when_its_counter_stands_still(objects: LocalObjects, since: str) -> None:
    hold(objects, 0, boot="another machine", pid=1, since=since)
    objects.replace("driver/000000.renewal", b"7")
    lease = acquire(objects, wait=standing_still)
    assert lease.number == 1
    lease.release()


def test_a_driver_elsewhere_lives_while_it_counts(objects: LocalObjects) -> None:
    hold(objects, 0, boot="another machine", host="elsewhere")
    waited: list[float] = []

    def count(seconds: float) -> None:
        waited.append(seconds)
        objects.replace("driver/000000.renewal", b"8")

    with pytest.raises(StoreBusy, match="on elsewhere"):
        acquire(objects, wait=count)
    assert waited == [60.0]


def test_a_process_of_another_container_is_not_judged_by_its_pid(objects: LocalObjects) -> None:
    """Containers of one machine share the boot id, but a pid means another process in each."""
    boot = this_process().boot
    assert "pid:" in boot or not Path("/proc/self/ns/pid").exists()
    hold(objects, 0, boot=boot.replace("pid:[", "pid:[9"), pid=999_999, host="container")

    def count(seconds: float) -> None:
        objects.replace("driver/000000.renewal", b"1")

    with pytest.raises(StoreBusy, match="container"):
        acquire(objects, wait=count)


def test_a_torn_lease_is_waited_for(objects: LocalObjects) -> None:
    objects.create("driver/000000.json", b'{"host": ')
    assert holder(objects) is None
    acquire(objects, wait=standing_still).release()


def test_the_one_who_is_taken_over_notices(objects: LocalObjects) -> None:
    first = acquire(objects, renewal=0.01)
    second = acquire(objects, take_over=True)
    wait_until(lambda: first.lost is not None, "the first driver never noticed")
    assert "another driver took the store over (lease 1 after 0)" in str(first.lost)
    first.release()
    assert second.lost is None
    second.release()


@pytest.fixture
def disarmed() -> Callable[[str], None]:
    yield failpoints.arm  # type: ignore[misc]
    failpoints.arm("")


def test_a_driver_that_cannot_renew_stops_itself(objects: LocalObjects, disarmed: Callable[[str], None]) -> None:
    disarmed("lease.renew=broken")
    lease = acquire(objects, renewal=0.01, standstill=0.1)
    wait_until(lambda: lease.lost is not None, "the driver never stopped itself")
    assert "could not be renewed" in str(lease.lost)
    lease.release()
