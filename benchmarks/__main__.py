"""`python -m benchmarks NAME …`: run one benchmark."""

import sys
from importlib import import_module

NAMES = (
    "accuracy",
    "airbench",
    "augmentation",
    "cli",
    "examples",
    "exports",
    "folder",
    "large_file",
    "lists",
    "overhead",
    "parallel",
    "registry",
    "resume",
    "scale",
    "startup",
    "streams",
    "table",
    "team",
    "throughput",
    "tuners",
    "web",
)


def main(words: list[str]) -> None:
    """Run the benchmark that the first word names; the other words are its arguments."""
    if not words or words[0] not in NAMES:
        sys.exit(f"usage: python -m benchmarks NAME [options]\nNAME: {', '.join(NAMES)}")
    import_module(f"benchmarks.{words[0]}").main(words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
