"""The process and the machine that mlreg runs in: streams, signals, limits, installed libraries."""
