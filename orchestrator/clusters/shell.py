"""What the shell commands and images of a cluster file do: which Ray they install, what they open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.clusters.document import Document
from orchestrator.clusters.findings import Finding, KeyPath

_PINNED = re.compile(r"(?<![\w./-])ray(?:\[[^\]]*\])?\s*==\s*([0-9][\w.]*)")
_INSTALLED = re.compile(r"\b(?:pip3?|uv pip)\s+install\b[^;&|]*?[\s'\"](ray(?:\[[^\]]*\])?)(?=[\s'\";&|]|[<>~!]|$)")
_NIGHTLY = re.compile(r"ray-wheels/latest|3\.0\.0\.dev0|rayproject/ray(?:-ml)?:nightly|--nightly")
_IMAGE = re.compile(r"rayproject/ray(?:-ml)?(?::([\w.-]+))?")
_CONSTRAINTS = re.compile(r"(?:-c|--constraint)[ =]\S*?([\w.-]+\.txt)")
_OPEN_HOST = re.compile(r"--dashboard-host[ =]['\"]?(?:0\.0\.0\.0|::)")
_TOKEN = re.compile(r"RAY_AUTH_MODE=['\"]?token")


@dataclass(frozen=True, kw_only=True)
class RayVersions:
    """Versions to hold a file against.

    Attributes:
        installed: Ray on this machine, which submits; None without one.
        constrained: The version in `constraints.txt`; None without such a file or line.
    """

    installed: str | None
    constrained: str | None

    @property
    def expected(self) -> str | None:
        """The version that every node must have."""
        return self.installed or self.constrained


def constrained_ray(folders: Iterable[Path]) -> str | None:
    """Ray's version in the first `constraints.txt` of these folders."""
    for folder in folders:
        try:
            found = _PINNED.search((folder / "constraints.txt").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if found:
            return found[1]
    return None


def starts_head(command: str) -> bool:
    """Whether a command starts Ray's head."""
    return "ray start" in command and "--head" in command


def asks_for_token(command: str) -> bool:
    """Whether a command switches token authentication on."""
    return bool(_TOKEN.search(command))


def opens_dashboard(command: str) -> bool:
    """Whether a command makes the dashboard listen on every interface."""
    return bool(_OPEN_HOST.search(command))


def names_constraints(command: str) -> bool:
    """Whether a command installs under a constraints file."""
    return bool(_CONSTRAINTS.search(command))


def ray_installed_by(command: str) -> str | None:
    """The version of Ray that a command pins or an image brings; None where it says none."""
    image = _IMAGE.search(command)
    tag = re.match(r"\d+\.\d+\.\d+", image[1] or "") if image else None
    pinned = _PINNED.search(command)
    return pinned[1] if pinned else tag[0] if tag else None


def check_ray_versions(document: Document, versions: RayVersions) -> Iterator[Finding]:
    """Nightly, unpinned and differing Rays: a driver and a node of two versions refuse each other."""
    for path, text in document.strings():
        if path[:1] == ("file_mounts",):
            continue
        version = ray_installed_by(text)
        if _NIGHTLY.search(text):
            yield document.error(
                "nightly_ray",
                path,
                wrong="this installs a nightly Ray",
                expected=f"the released version that the driver has ({versions.expected or 'unknown here'})",
                remedy=f"Pin it: pip install 'ray[default]=={versions.expected or 'VERSION'}'.",
            )
        elif version is not None:
            yield from _compare(document, path, version, versions)
        elif _INSTALLED.search(text) or _untagged(text):
            yield document.warning(
                "unpinned_ray",
                path,
                wrong="this takes whatever Ray is newest on the day a node starts",
                expected=f"one version on every node ({versions.expected or 'unknown here'})",
                remedy="Pin it with == (or a version tag).",
            )


def _compare(document: Document, path: KeyPath, version: str, versions: RayVersions) -> Iterator[Finding]:
    for name, other in (("the Ray installed here", versions.installed), ("constraints.txt", versions.constrained)):
        if other is not None and version != other:
            yield document.error(
                "ray_version_differs",
                path,
                wrong=f"Ray {version} on the nodes, {other} in {name}",
                expected="the same version everywhere",
                remedy=f"Write {other} here, or install {version} there.",
            )
            return


def _untagged(text: str) -> bool:
    image = _IMAGE.search(text)
    return image is not None and (image[1] is None or image[1].startswith("latest"))


def check_open_networks(document: Document) -> Iterator[Finding]:
    """Addresses that stand for the whole world, wherever they are."""
    for path, text in document.strings():
        if re.search(r"(?<![\d.])0\.0\.0\.0/0|(?<![\w:])::/0", text):
            yield document.error(
                "open_to_the_world",
                path,
                wrong="this lets the whole internet in",
                expected="your own network; whoever reaches Ray's ports runs code on the cluster",
                remedy="Name the addresses you come from, and reach the dashboard through an ssh tunnel.",
            )


def check_placeholders(document: Document) -> Iterator[Finding]:
    """Values that were left for the user to fill in: names that begin with `your-`."""
    for path, text in document.strings():
        if found := re.search(r"\byour-[a-z-]+", text):
            yield document.warning(
                "placeholder",
                path,
                wrong=f"{found[0]!r} is still the example's",
                expected="a name of yours",
                remedy="Replace it before you start the cluster.",
            )
