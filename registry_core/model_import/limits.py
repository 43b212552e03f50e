"""Limits on memory and time for loading a model file from elsewhere, and their reasons.

Measured with TensorFlow 2.21 and Keras 3.15 on x86-64: importing them takes 0.31 GB of private
memory and 4 s; predicting a first batch takes 0.1 GB more. Both depend on the number of cores, so
limits are counted from what the process uses when it starts on the file.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry_core.errors import RefusedError

# While a model is loaded, its weights are in memory several times: as read, checked, variables.
MEMORY_BYTES = 2_000_000_000
MEMORY_BYTES_A_FILE_BYTE = 6

# The dataset is the user's own, so memory for its examples is granted. For 250 examples of
# 224 x 224 (150 MB as float32), VGG16 keeps three layers of 64 channels at once, 64 times as much;
# other networks keep less.
MEMORY_BYTES_A_BATCH_BYTE = 72

# A model of a kilobyte needs seconds. The largest of Keras's applications, EfficientNetB7 with
# 268 MB, is built twice and predicts a batch in five minutes on two cores.
SECONDS = 120.0
SECONDS_A_MEGABYTE = 1.0

# The test split may take this many times as long as loading and one batch.
TIMES_FOR_THE_SPLIT = 10

# Python, NumPy and TensorFlow are read from a disk that may be slow.
START_SECONDS = 240.0

# For the files that the process writes: vocabularies that Keras unpacks, and its log.
SPARE_FILE_BYTES = 64_000_000
OPEN_FILES = 256

# The process answers with less than this.
ANSWER_BYTES = 1 << 16


@dataclass(frozen=True)
class Limits:
    """What the process that opens a file may use, on top of what TensorFlow needs.

    Args:
        memory_bytes: private memory.
        seconds: wall time for loading the model and predicting a batch; also the limit of
            processor time, per processor.
    """

    memory_bytes: int
    seconds: float

    @classmethod
    def of(
        cls,
        file_bytes: int,
        batch_bytes: int = 0,
        *,
        memory_bytes: int | None = None,
        seconds: float | None = None,
    ) -> Limits:
        """The default limits for a file and a batch of these sizes; arguments override them."""
        usual_bytes = (
            MEMORY_BYTES
            + MEMORY_BYTES_A_FILE_BYTE * file_bytes
            + MEMORY_BYTES_A_BATCH_BYTE * batch_bytes
        )
        usual_seconds = SECONDS + SECONDS_A_MEGABYTE * (file_bytes + batch_bytes) / 1e6
        return cls(memory_bytes or usual_bytes, seconds or usual_seconds)

    def too_much_memory(self) -> LimitError:
        return LimitError(
            f"The model needs more than {_gigabytes(self.memory_bytes)} GB of memory, the limit "
            "for a file of its size.",
            "If you trust the file, allow more.",
            f"--max-memory {_gigabytes(2 * self.memory_bytes)}",
        )

    def crashed(self, how: str) -> LimitError:
        """The error for a crash: libraries that run out of memory do not always say so."""
        had = _gigabytes(self.memory_bytes)
        return LimitError(
            f"The process that opened the file crashed ({how}), with {had} GB of memory.",
            "It may need more memory, or crash the libraries that read it. If you trust it, allow "
            "more.",
            f"--max-memory {_gigabytes(2 * self.memory_bytes)}",
        )

    def too_much_time(self) -> LimitError:
        what = f"The model needs more than {self.seconds:.0f} s, the limit for a file of its size."
        return self._too_long(what, self.seconds)

    def too_much_time_for_the_split(self, batches: int, batch_seconds: float) -> LimitError:
        needed = batches * batch_seconds
        return self._too_long(
            f"The model needs {needed:,.0f} s for the test split ({batches:,} batches of "
            f"{batch_seconds:.1f} s); the limit is {self.split_seconds:,.0f} s.",
            needed / TIMES_FOR_THE_SPLIT,
        )

    @property
    def split_seconds(self) -> float:
        """The limit for predicting the whole test split."""
        return TIMES_FOR_THE_SPLIT * self.seconds

    def _too_long(self, what: str, seconds: float) -> LimitError:
        return LimitError(
            what,
            "If you trust the file, allow more.",
            f"--max-seconds {max(1, 2 * seconds):.0f}",
        )


class LimitError(RefusedError):
    """A file needs more than its limits.

    Args:
        what: what it needs.
        remedy: what would work.
        option: the option of `mlreg import` that allows twice as much.
    """

    def __init__(self, what: str, remedy: str, option: str) -> None:
        super().__init__(what, remedy)
        self.option = option


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f}".removesuffix(".0")
