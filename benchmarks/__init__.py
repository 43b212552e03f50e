"""A command for each published figure, which measures both sides in turn.

    python -m benchmarks NAME [--record]

It compares medians, and prints the ratio last. `--record` writes benchmarks/results/NAME.json with
the machine, the date and the number of rounds.
"""
