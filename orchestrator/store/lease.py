"""One driver per store.

A driver holds the highest numbered object under `driver/`. Objects are create-only, so two drivers cannot take the
same number; a holder that sees a higher number stops. Whether a holder lives is judged on its own machine by process
id and start time, from elsewhere by its counter: it must stand still for `STANDSTILL_SECONDS` of the watcher's own
monotonic clock. The clocks of two machines are never compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator import failpoints
from orchestrator.clock import utc_now
from orchestrator.errors import InfrastructureError, StoreBusy
from orchestrator.store.objects import ObjectExists, ObjectMissing, Objects

STANDSTILL_SECONDS = 60.0
"""A counter that stands still for so long belongs to a driver that is dead (chosen)."""

RENEWAL_SECONDS = 10.0
"""Between two renewals (chosen): a driver that cannot renew has three tries before it stops itself."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a store.

    Attributes:
        host: Name of the machine.
        boot: Its boot and process-id namespace; where they are equal, process ids mean the same processes.
        pid: Process id.
        started: The process' start time in clock ticks since boot, so that a reused pid is told apart.
        since: Wall-clock time of the take-over, for people only.
    """

    host: str
    boot: str
    pid: int
    started: int
    since: str


def this_process() -> Holder:
    """This process as a holder."""
    return Holder(
        host=socket.gethostname(),
        boot=_boot_id(),
        pid=os.getpid(),
        started=_start_ticks(os.getpid()) or 0,
        since=utc_now(),
    )


def _boot_id() -> str:
    """Identity of what gives out process ids: two containers of one machine share its boot id, but not their pids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        import psutil

        return f"boot-{int(psutil.boot_time())}-{socket.gethostname()}"


def _start_ticks(pid: int) -> int | None:
    """Start time of a living process, None for a dead one or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    import psutil

    try:
        return int(psutil.Process(pid).create_time() * 100)
    except psutil.Error:
        return None


class Lease:
    """The right to drive a store, renewed by a thread until released."""

    def __init__(
        self, objects: Objects, number: int, holder: Holder, *, renewal: float = RENEWAL_SECONDS, patience: float
    ) -> None:
        """Start to renew; `acquire` makes leases.

        Args:
            objects: The store's objects.
            number: Number of the lease.
            holder: This process.
            renewal: Seconds between renewals.
            patience: Seconds without a successful renewal after which this driver stops itself.
        """
        self.number = number
        self.holder = holder
        self._objects = objects
        self._renewal = renewal
        self._patience = patience
        self._released = threading.Event()
        self._lost: str | None = None
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> str | None:
        """Why this driver must stop, None while it may go on."""
        return self._lost

    def release(self) -> None:
        """Give the store back; where it does not answer, its next driver finds this process dead."""
        self._released.set()
        self._thread.join()
        if self._lost is None:
            with contextlib.suppress(InfrastructureError):
                self._objects.replace(_renewal_key(self.number), b"released", durable=False)

    def _keep_renewing(self) -> None:
        counter = 0
        last_success = time.monotonic()
        while not self._released.wait(self._renewal):
            try:
                failpoints.hit("lease.renew")
                newest = _newest_number(self._objects)
                if newest is not None and newest > self.number:
                    self._lost = f"another driver took the store over (lease {newest} after {self.number})"
                    return
                counter += 1
                self._objects.replace(_renewal_key(self.number), str(counter).encode(), durable=False)
                last_success = time.monotonic()
            except (InfrastructureError, OSError) as error:
                if time.monotonic() - last_success > self._patience:
                    self._lost = f"the lease could not be renewed for {self._patience:.0f} s ({error})"
                    return


def acquire(
    objects: Objects,
    *,
    take_over: bool = False,
    wait: Callable[[float], None] = time.sleep,
    standstill: float = STANDSTILL_SECONDS,
    renewal: float = RENEWAL_SECONDS,
) -> Lease:
    """Take the right to drive a store.

    Args:
        objects: The store's objects.
        take_over: Take it from whoever holds it.
        wait: Sleeps; a test may pass its own.
        standstill: Seconds that a remote holder's counter must stand still.
        renewal: Seconds between renewals of the new lease.

    Raises:
        StoreBusy: A living driver holds it.
    """
    me = this_process()
    while True:
        number = _newest_number(objects)
        if number is not None and not take_over:
            _refuse_if_alive(objects, number, me, wait, standstill)
        following = 0 if number is None else number + 1
        try:
            objects.create(_lease_key(following), json.dumps(asdict(me)).encode())
        except ObjectExists:
            continue
        for name in objects.names("driver"):
            if int(name.partition(".")[0]) < following:
                objects.delete(f"driver/{name}")
        return Lease(objects, following, me, renewal=renewal, patience=standstill / 2)


def holder(objects: Objects) -> Holder | None:
    """Who holds the store by the newest lease, None where it was released or never taken."""
    number = _newest_number(objects)
    if number is None or _renewal(objects, number) == "released":
        return None
    with contextlib.suppress(ObjectMissing, ValueError, TypeError):
        found = Holder(**json.loads(objects.read(_lease_key(number))))
        return None if _dead_here(found, this_process()) else found
    return None


def _refuse_if_alive(
    objects: Objects, number: int, me: Holder, wait: Callable[[float], None], standstill: float
) -> None:
    if _renewal(objects, number) == "released":
        return
    try:
        other = Holder(**json.loads(objects.read(_lease_key(number))))
    except ObjectMissing:
        return
    except (ValueError, TypeError):
        other = Holder(host="an unknown machine", boot="", pid=0, started=0, since="an unknown time")
    if _dead_here(other, me):
        return
    if other.boot != me.boot:
        before = _renewal(objects, number)
        wait(standstill)
        if _renewal(objects, number) == before:
            return
    raise StoreBusy(
        f"another driver (pid {other.pid} on {other.host}, since {other.since}) holds this store; expected none. "
        "Wait for it, stop it, or force with --take-over."
    )


def _dead_here(other: Holder, me: Holder) -> bool:
    return other.boot == me.boot and _start_ticks(other.pid) != other.started


def _newest_number(objects: Objects) -> int | None:
    numbers = [int(name.removesuffix(".json")) for name in objects.names("driver") if name.endswith(".json")]
    return max(numbers, default=None)


def _renewal(objects: Objects, number: int) -> str:
    try:
        return objects.read(_renewal_key(number)).decode()
    except ObjectMissing:
        return ""


def _lease_key(number: int) -> str:
    return f"driver/{number:06d}.json"


def _renewal_key(number: int) -> str:
    return f"driver/{number:06d}.renewal"
