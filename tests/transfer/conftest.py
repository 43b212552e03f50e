"""What notes calls, and a proxy in front of the S3 server, for the tests of copying."""

from broken_s3 import proxy
from durable_calls import calls

__all__ = ["calls", "proxy"]
