"""The page in a real browser: nothing overflows at 400 and 1400 pixels, nothing is asked for, nothing complains."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis.report import Report

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--allow-file-access-from-files",
    "--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000",
)  # fmt: skip

_PROBE = """<!DOCTYPE html><html><body style="margin:0">
<iframe id="page" src="report.html" style="border:0;width:{width}px;height:900px"></iframe>
<pre id="found">nothing</pre>
<script>
onload = () => {{
  const page = document.getElementById("page").contentDocument;
  const inside = ".scroll, pre, svg, details:not([open])";
  const wide = [...page.body.querySelectorAll("*")]
    .filter(one => !one.closest(inside) && one.getBoundingClientRect().right > {width} + 0.5)
    .slice(0, 5).map(one => one.outerHTML.slice(0, 80));
  const asked = page.defaultView.performance.getEntriesByType("resource").length;
  const overflow = page.documentElement.scrollWidth - {width};
  document.getElementById("found").textContent = JSON.stringify({{overflow, wide, asked}});
}};
</script></body></html>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed")


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_overflows(report: Report, tmp_path: Path, width: int) -> None:
    shutil.copy(report.path, tmp_path / "report.html")
    probe = tmp_path / "probe.html"
    probe.write_text(_PROBE.format(width=width))
    shown, complaints = _visit(probe, tmp_path / "profile")
    found = re.search(r'<pre id="found">(.*?)</pre>', shown)
    assert found is not None
    assert found.group(1) == '{"overflow":0,"wide":[],"asked":0}'
    assert complaints == []


def _visit(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The page's DOM after it has loaded, and what the console said."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        *_OPTIONS,
        f"--user-data-dir={profile}",
        "--window-size=1500,1000",
        "--dump-dom",
        page.as_uri(),
    ]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return made.stdout, [line for line in made.stderr.splitlines() if "CONSOLE" in line]
