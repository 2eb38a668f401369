"""Errors of the trainer that a user can cause. Each says what is wrong, what was expected, and what to do."""


class TrainerError(Exception):
    """Root of the trainer's errors."""


class SpecError(TrainerError):
    """A run spec that cannot be trained."""


class CorpusError(TrainerError):
    """A corpus that cannot be read, is too small, or is not the one that the spec names."""


class CheckpointError(TrainerError):
    """A checkpoint that is torn or belongs to another run."""


class DeviceError(TrainerError):
    """A device that is not there, or cannot hold the run."""


class CompilerError(TrainerError):
    """Compilation was asked for where no compiler is."""


class DeviceOutOfMemory(DeviceError):  # noqa: N818 (what torch and the field call it)
    """The device cannot hold the model and a micro-batch.

    Attributes:
        micro_batch: Windows per forward pass that did not fit.
        needed_bytes: Device memory that it would have needed, None where nobody can tell.
    """

    def __init__(self, message: str, *, micro_batch: int, needed_bytes: float | None = None) -> None:
        super().__init__(message)
        self.micro_batch = micro_batch
        self.needed_bytes = needed_bytes

    def __reduce__(self) -> tuple[object, ...]:
        """Survive a pickle: a worker raises this, the driver reads it."""
        return (_device_out_of_memory, (str(self), self.micro_batch, self.needed_bytes))


def _device_out_of_memory(message: str, micro_batch: int, needed_bytes: float | None) -> DeviceOutOfMemory:
    return DeviceOutOfMemory(message, micro_batch=micro_batch, needed_bytes=needed_bytes)
