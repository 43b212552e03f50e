"""A proxy in front of the S3 server, for the tests of copying that ask for one."""

from broken_s3 import proxy

__all__ = ["proxy"]
