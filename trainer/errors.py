"""Errors of the trainer that a user can cause. Each says what is wrong, what was expected, and what to do."""


class TrainerError(Exception):
    """Root of the trainer's errors."""


class SpecError(TrainerError):
    """A run spec that cannot be trained."""


class CorpusError(TrainerError):
    """A corpus that cannot be read, is too small, or is not the one that the spec names."""


class CheckpointError(TrainerError):
    """A checkpoint that is torn or belongs to another run."""
