"""How much memory and time a file from elsewhere gets, and why so much.

Measured with TensorFlow 2.21 and Keras 3.15 on x86-64: importing them takes 0.31 GB of private
memory and 4 s; answering a first batch 0.1 GB more. What a machine needs for that differs by its
cores, so limits are counted from where the process stands when it begins with the file.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry_core.errors import RefusedError

# A model that is loaded has its weights several times for a moment: read, checked, as variables.
MEMORY_BYTES = 2_000_000_000
MEMORY_BYTES_A_FILE_BYTE = 6

# The dataset is the user's own, so what its examples need is given. Of 250 photographs of 224 x 224
# (150 MB as float32), VGG16 holds three layers of 64 channels at once, which is 64 times as much;
# other networks hold less.
MEMORY_BYTES_A_BATCH_BYTE = 72

# A model of a kilobyte needs seconds. The largest of Keras's applications, EfficientNetB7 with 268
# MB, is built twice and answers a batch in five minutes on two cores.
SECONDS = 120.0
SECONDS_A_MEGABYTE = 1.0

# The test split may take this many times what loading and one batch may.
TIMES_FOR_THE_SPLIT = 10

# Python, NumPy and TensorFlow have to be read from a disk that may be slow.
START_SECONDS = 240.0

# What the process writes: vocabularies that Keras unpacks, and its log.
SPARE_FILE_BYTES = 64_000_000
OPEN_FILES = 256

# Everything that it says comes in less than this.
ANSWER_BYTES = 1 << 16


@dataclass(frozen=True)
class Limits:
    """What the process that opens a file may use, beyond what TensorFlow needs itself.

    Args:
        memory_bytes: private memory.
        seconds: by the clock, for loading the model and answering a batch; and as many seconds of
            each processor.
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
        """The limits for a file and a batch of these sizes, unless others are given."""
        usual_bytes = (
            MEMORY_BYTES
            + MEMORY_BYTES_A_FILE_BYTE * file_bytes
            + MEMORY_BYTES_A_BATCH_BYTE * batch_bytes
        )
        usual_seconds = SECONDS + SECONDS_A_MEGABYTE * (file_bytes + batch_bytes) / 1e6
        return cls(memory_bytes or usual_bytes, seconds or usual_seconds)

    def too_much_memory(self) -> LimitError:
        return LimitError(
            f"The model asks for more than {_gigabytes(self.memory_bytes)} GB of memory.",
            "A file of its size gets no more. Allow more where it is trusted.",
            f"--max-memory {_gigabytes(2 * self.memory_bytes)}",
        )

    def crashed(self, how: str) -> LimitError:
        """The error of a crash: libraries that get no memory do not always say so."""
        had = _gigabytes(self.memory_bytes)
        return LimitError(
            f"The process that opened the file crashed ({how}), with {had} GB of memory.",
            "It may want more, or break the libraries that read it. Allow more where it is "
            "trusted.",
            f"--max-memory {_gigabytes(2 * self.memory_bytes)}",
        )

    def too_much_time(self) -> LimitError:
        return self._too_long(f"The model asks for more than {self.seconds:.0f} s.", self.seconds)

    def too_much_time_for_the_split(self, batches: int, batch_seconds: float) -> LimitError:
        needed = batches * batch_seconds
        return self._too_long(
            f"The model asks for {needed:,.0f} s for the test split, {batches:,} batches of "
            f"{batch_seconds:.1f} s, and gets {self.split_seconds:,.0f}.",
            needed / TIMES_FOR_THE_SPLIT,
        )

    @property
    def split_seconds(self) -> float:
        """For answering the whole test split."""
        return TIMES_FOR_THE_SPLIT * self.seconds

    def _too_long(self, what: str, seconds: float) -> LimitError:
        return LimitError(
            what,
            "A file of its size gets no more. Allow more where it is trusted.",
            f"--max-seconds {max(1, 2 * seconds):.0f}",
        )


class LimitError(RefusedError):
    """A file asks for more than it gets.

    Args:
        what: what it asks for.
        remedy: what would work.
        option: of `mlreg import`, that allows twice as much.
    """

    def __init__(self, what: str, remedy: str, option: str) -> None:
        super().__init__(what, remedy)
        self.option = option


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f}".removesuffix(".0")
