"""What an S3 server refuses, as errors of the operating system that say what to change."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# The server could not be asked, so nothing is known of its objects.
UNREACHABLE = (errno.EHOSTUNREACH, errno.EREMOTEIO)

# Codes of S3 in the body of a refusal.
_CODES: Mapping[str, tuple[int, str]] = {
    "NoSuchBucket": (errno.ENXIO, "there is no such bucket"),
    "AccessDenied": (errno.EACCES, "the S3 server does not allow it"),
    "InvalidAccessKeyId": (errno.EACCES, "the access key is not known there"),
    "SignatureDoesNotMatch": (errno.EACCES, "the secret key does not belong to the access key"),
    "ExpiredToken": (errno.EACCES, "the session token has expired"),
    "RequestTimeTooSkewed": (errno.EACCES, "this machine's clock is wrong"),
    "XMinioStorageFull": (errno.ENOSPC, "the storage is full"),
    "InsufficientStorage": (errno.ENOSPC, "the storage is full"),
    "QuotaExceeded": (errno.EDQUOT, "the quota is used up"),
    "BadDigest": (errno.EREMOTEIO, "the upload arrived damaged"),
}
# Where a machine of Amazon's is asked for its role if no keys are set; any machine may answer.
_ROLE_SERVICE = "http://169.254."
_STATUS = re.compile(r"non-2xx status code: (\d{3}) ?([^:]*)")
_CODE = re.compile(r"(?:<Code>|\(code: )(\w{1,64})")


def is_retried(error: Exception) -> bool:
    """Whether the same request may succeed: it was cut off, and nobody tried it again."""
    text = str(error)
    return _STATUS.search(text) is None and "retries, max_retries" not in text


def is_empty_range(error: Exception) -> bool:
    """Whether a part was asked of an object that is empty."""
    status = _STATUS.search(str(error))
    return status is not None and status[1] == "416"


def as_os_error(error: Exception, place: str) -> OSError:
    """The error of the operating system that says the same.

    Args:
        error: what obstore raised.
        place: what could not be read or written: `s3://bucket/prefix/objects/…`.
    """
    text = str(error)
    code = _CODE.search(text)
    if _ROLE_SERVICE in text:
        return PermissionError(errno.EACCES, "no AWS credentials were found", place)
    if code and code[1] in _CODES:
        number, why = _CODES[code[1]]
        return OSError(number, why, place)
    status = _STATUS.search(text)
    kind = type(error).__name__
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        return PermissionError(errno.EACCES, "the S3 server does not allow it", place)
    if status:
        said = " ".join(filter(None, (status[1], status[2].strip(), code and code[1])))
        number = errno.ENOSPC if status[1] == "507" else errno.EREMOTEIO
        return OSError(number, f"the S3 server answered {said}", place)
    if "credential" in text.lower():
        return PermissionError(errno.EACCES, "no AWS credentials were found", place)
    if "error sending request" in text or "Connect" in text or "timed out" in text.lower():
        return OSError(errno.EHOSTUNREACH, "the S3 server cannot be reached", place)
    first = text.partition("\n")[0]
    why = first.rpartition(" - ")[2] or first
    return OSError(errno.EREMOTEIO, f"the S3 server's answer was cut off ({why[:200]})", place)
