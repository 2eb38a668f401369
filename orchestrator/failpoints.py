"""Named places where a test can make the process die, fail or see another clock; without the variable they do nothing.

`ISOFLOP_FAILPOINTS` holds `NAME=ACTION[@COUNT]`, separated by semicolons: `commit.after_link=kill@3` ends the process
by SIGKILL when the third commit has got its name. Actions: `kill`, `terminate` (SIGTERM), `interrupt` (SIGINT),
`freeze` (SIGSTOP), `full` (ENOSPC), `broken` (EIO), `crash` (an exception that nobody expects), and a number, which
`shift` adds to the clock that `NAME` reads.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter

VARIABLE = "ISOFLOP_FAILPOINTS"

_SIGNALS = {
    "kill": signal.SIGKILL,
    "terminate": signal.SIGTERM,
    "interrupt": signal.SIGINT,
    "freeze": signal.SIGSTOP,
}
_ERRORS = {"full": errno.ENOSPC, "broken": errno.EIO}


class Crash(Exception):  # noqa: N818 - what it stands for
    """An exception from a failpoint."""


_armed: dict[str, tuple[str, int]] = {}
_hits: Counter[str] = Counter()


def arm(setting: str) -> None:
    """Set what the failpoints of this process do, in place of what the environment said."""
    _armed.clear()
    _hits.clear()
    for entry in filter(None, setting.split(";")):
        name, _, rest = entry.partition("=")
        action, _, count = rest.partition("@")
        _armed[name] = (action, int(count or 1))


def hit(name: str) -> None:
    """Pass a failpoint.

    Raises:
        OSError: It is armed with `full` or `broken`, which last from the armed pass on.
        Crash: It is armed with `crash`.
    """
    if not _armed or name not in _armed:
        return
    action, count = _armed[name]
    _hits[name] += 1
    if action in _ERRORS and _hits[name] >= count:
        raise OSError(_ERRORS[action], os.strerror(_ERRORS[action]))
    if _hits[name] != count:
        return
    if action == "crash":
        raise Crash(name)
    if action in _SIGNALS:
        os.kill(os.getpid(), _SIGNALS[action])


def armed(name: str) -> bool:
    """Whether a failpoint would do something, at this pass or a later one."""
    return name in _armed


def shift(name: str) -> float:
    """Seconds that a clock is wrong by: 0 unless armed."""
    return float(_armed[name][0]) if name in _armed else 0.0


arm(os.environ.get(VARIABLE, ""))
