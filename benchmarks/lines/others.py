"""Lines on sweeps and on exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.lines.line import Line, compared, rows_by
from benchmarks.records import Record

SWEEPS = "Searches over settings, beside other tuners"
EXPORTS = "Exports"


def tuners(record: Record) -> Iterator[Line]:
    """A line for what a trial costs beside another tuner, and one for what kills cost."""
    result = record.content
    sides = rows_by(result, "side")
    bare = sides.pop("bare loop")
    ours = sides.pop("mlreg sweep")
    each = bare["wall_seconds"] / result["trials"]
    for name, row in sides.items():
        cpu = (ours["cpu_overhead_a_trial"], row["cpu_overhead_a_trial"])
        wall = (ours["wall_overhead_a_trial"], row["wall_overhead_a_trial"])
        yield Line(
            SWEEPS,
            f"what is added to each of {result['trials']} trials, start-up included",
            f"{cpu[0]} CPU s; {wall[0]} s, to a trial of {each:.2g} s",
            f"{cpu[1]} CPU s; {wall[1]} s",
            f"{name} {row['version']}",
            compared(cpu, wall),
            1,
            cpu[0] / cpu[1] if cpu[1] else 0.0,
        )
    yield Line(
        SWEEPS,
        f"a search of {result['killed_trials']} trials, `kill -9` {result['kills']} times, "
        f"resumed by {ours['resumed']}",
        _after_kills(ours, result),
        beside="; ".join(
            f"{_after_kills(row, result)}: {name}, {row['resumed']}" for name, row in sides.items()
        ),
        n=result["kills"],
    )


def _after_kills(row: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    if "failed" in row:
        return f"not resumed after kill {row['kills']}"
    known = row["ended_before_a_kill"]
    return (
        f"{row['trials_missing']} of {known} ended trials missing, {row['trials_again']} trained "
        f"again; {row['epochs_in_vain']} epochs in vain; {row['same_values']} of "
        f"{result['killed_trials']} trials as if never stopped"
    )


def exports(record: Record) -> Iterator[Line]:
    """Sizes and differences, which load does not change; the latency only from a quiet machine."""
    result, timed = record.content, record.timed
    model = f"{result['dataset']} `{result['preset']}`"
    keras = f"{result['keras_size'] / 1e6:.1f} MB"
    for side, row in rows_by(result, "side").items():
        share = row["largest_difference"] / row["largest_output"]
        wall = (row["milliseconds"], row["keras_milliseconds"])
        yield Line(
            EXPORTS,
            f"`mlreg export --format {side}` of {model}; time for one example",
            f"{row['size'] / 1e6:.1f} MB, outputs within {share:.1g} of the largest"
            + (f", {wall[0]} ms" if timed else ""),
            keras + (f", {wall[1]} ms" if timed else ""),
            "the `.keras` file in Keras",
            compared(wall=wall) if timed else "",
            result["rounds"],
            wall[0] / wall[1],
        )
        if test := row.get("int8"):
            found = test["comparison"]
            yield Line(
                EXPORTS,
                f"test {found['measure']} of {model} in 8-bit integers, "
                f"{found['examples']:,} examples",
                f"{test['quantized']:.4f} ({found['difference']:+.4f}, 95 % interval "
                f"{found['low']:+.4f} to {found['high']:+.4f}; {found['test']})",
                f"{test['float']:.4f}",
                "the float model",
                n=1,
                cost=-found["difference"],
            )
