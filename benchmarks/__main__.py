"""`python -m benchmarks NAME …`: run one benchmark, or all of them."""

import signal
import sys
from importlib import import_module

from benchmarks.catalog import BENCHMARKS

# module -> what it does
NAMES = {
    **{each.module or name: each.what for name, each in reversed(BENCHMARKS.items())},
    "accuracy": "accuracy and minutes of a preset",
    "all": "all of these in turn: --list shows what each needs, --record records",
    "table": "the tables of README.md, docs/figures.md and docs/cifar10.md, from the records",
}


def main(words: list[str]) -> None:
    """Run the benchmark that the first word names; the other words are its arguments."""
    if not words or words[0] not in NAMES:
        lines = "".join(f"  {name:14}{what}\n" for name, what in sorted(NAMES.items()))
        sys.exit(f"usage: python -m benchmarks NAME [options]\n{lines}")
    # as an exception, which ends what the benchmark started
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    import_module(f"benchmarks.{words[0]}").main(words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
