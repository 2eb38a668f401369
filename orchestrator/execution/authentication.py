"""Ray's token, made ready for whoever imports Ray next: after `import ray` the environment has no effect."""

from __future__ import annotations

import os
from pathlib import Path


def prepare_client() -> None:
    """Have Ray's clients use the token that is there, and none where there is none; what the user set stands."""
    os.environ.setdefault("RAY_AUTH_MODE", "token" if token_source() else "disabled")


def token_source() -> str | None:
    """Where Ray will find a token: a variable or a file; None where there is none."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return str(path) if path.exists() else None
