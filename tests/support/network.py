"""Machines of their own networks: namespaces of this machine, joined by a switch from which each can be unplugged."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A network namespace with one address.

    Attributes:
        name: Of the namespace.
        address: Its own, on the switch.
        port: The switch's end of its cable.
    """

    name: str
    address: str
    port: str

    def command(self, *words: str) -> list[str]:
        """A command line that runs there."""
        return ["ip", "netns", "exec", self.name, *words]

    def unplug(self) -> None:
        """Pull the cable: nothing passes, and nobody is told."""
        _ip("link", "set", self.port, "down")

    def plug_in(self) -> None:
        """Put the cable back."""
        _ip("link", "set", self.port, "up")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A switch.

    Attributes:
        address: This process' own on it.
        machines: What is plugged in.
    """

    address: str
    machines: tuple[Machine, ...]


@contextlib.contextmanager
def network(machines: int) -> Iterator[Network]:
    """Make a switch and machines; where the rights or the program are missing, the test is skipped."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs network namespaces: the program ip and the rights of root")
    key = secrets.token_hex(3)
    block = f"10.{secrets.randbelow(55) + 200}.{secrets.randbelow(256)}"
    switch = f"iso{key}"
    made = [
        Machine(name=f"iso{key}-{number}", address=f"{block}.{number + 2}", port=f"iso{key}p{number}")
        for number in range(machines)
    ]
    with contextlib.ExitStack() as undo:
        try:
            _ip("link", "add", switch, "type", "bridge")
            undo.callback(_ip, "link", "del", switch)
            _ip("addr", "add", f"{block}.1/24", "dev", switch)
            _ip("link", "set", switch, "up")
            for machine in made:
                _add(machine, switch, f"{block}.1", undo)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"needs network namespaces: {error.stderr.strip()}")
        yield Network(address=f"{block}.1", machines=tuple(made))


def _add(machine: Machine, switch: str, gateway: str, undo: contextlib.ExitStack) -> None:
    _ip("netns", "add", machine.name)
    undo.callback(_ip, "netns", "del", machine.name)
    _ip("link", "add", machine.port, "type", "veth", "peer", "name", "eth0", "netns", machine.name)
    undo.callback(subprocess.run, ["ip", "link", "del", machine.port], capture_output=True)
    _ip("link", "set", machine.port, "master", switch, "up")
    _ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", "eth0")
    _ip("-n", machine.name, "link", "set", "eth0", "up")
    _ip("-n", machine.name, "link", "set", "lo", "up")
    _ip("-n", machine.name, "route", "add", "default", "via", gateway)  # Ray learns its own address by a route


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
