"""What the arguments of a trainer's command may have filled in: `{spec}`, `{steps}`, `{model.width}`."""

from __future__ import annotations

import re

from trainer.spec import RunSpec

PATTERN = re.compile(r"\{([a-z_][a-z_.0-9]*)\}")

PATHS = ("spec", "record", "progress", "checkpoints", "corpus")
"""Files and folders; each is in the environment, too, as ISOFLOP_SPEC and so on."""

VALUES = ("python", "run_id", "tokens", "batch_tokens", "micro_batch", "threads")
"""Values that are no fields of a spec."""

PASSED = (*PATHS, "run_id", "tokens", "batch_tokens", "micro_batch", "threads", "seed")
"""Those that are environment variables, too."""

FIELDS = tuple(name for name in RunSpec.__dataclass_fields__ if name != "trainer")
"""Fields of a spec; those that have fields of their own are reached with dots."""

KNOWN = (*PATHS, *VALUES, *FIELDS)
"""First words of everything that may be filled in."""
