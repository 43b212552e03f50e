"""A command for each published figure, which measures both sides in turn.

    python -m benchmarks NAME [--record]
    python -m benchmarks all [--list] [--record]

It compares medians, and prints the ratio last. `--record` writes results/MACHINE/NAME.json here,
with the processor, the load before and meanwhile, the library versions, the commit, the date and
the number of rounds. `python -m benchmarks table` makes the tables of the pages from the records.
"""
