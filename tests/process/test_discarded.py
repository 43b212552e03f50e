"""What libraries print inside `streams.discarded` is seen by nobody."""

from cli_helpers import forked_python

PROGRAM = """
import logging, os, sys, warnings
from registry_core.process import streams

logging.basicConfig(level=logging.INFO)
{claim}
try:
    with streams.discarded():
        print("library")
        print("library", file=sys.stderr)
        os.write(1, b"library")
        os.write(2, b"library")
        os.system("echo library; echo library >&2")
        logging.error("library")
        warnings.warn("library")
        {shown}
        raise ValueError
except ValueError:
    pass
print("after", file=streams.out())
print("after", file=sys.stderr)
logging.error("logged after")
"""


def test_nothing_of_a_library_is_printed_or_logged():
    """Neither from Python, C code or a child process; afterwards all is as before."""
    done = forked_python("-c", PROGRAM.format(claim="", shown=""))
    assert done.status == 0, done.stderr
    assert "library" not in done.stdout + done.stderr
    assert done.stdout == "after\n"
    assert done.stderr.splitlines() == ["after", "ERROR:root:logged after"]


def test_mlregs_own_output_is_still_seen():
    """During a command it goes through descriptors of its own."""
    shown = 'print("ours", file=streams.err())'
    done = forked_python("-c", PROGRAM.format(claim="streams.claim()", shown=shown))
    assert done.status == 0, done.stderr
    assert "library" not in done.stdout + done.stderr
    assert done.stdout == "after\n"
    assert done.stderr.splitlines() == ["ours", "after", "ERROR:root:logged after"]
