"""Every speed claim of mlreg, as a command that measures both sides in one go.

    python -m benchmarks NAME [--record]

Sides alternate within one run, medians are compared, and the ratio comes last. What is recorded
stands in benchmarks/results/NAME.json with the machine, the date and the number of runs.
"""
