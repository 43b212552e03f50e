"""Lines on training: its speed, what the host adds, accuracy, and runs that were stopped."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.lines.line import Line, compared, rows_by, times
from benchmarks.load import MAX_OTHERS_SHARE
from benchmarks.records import Record

SPEED = "Training speed"
ACCURACY = "Accuracy"
VARIANTS = "Variants of a recipe"
EXAMPLES = "Example plugins beside scikit-learn"
STOPPED = "Runs that are killed and resumed"
SEVERAL = "Several runs at a time"
LARGE = "Large data and large model files"
GPU = "On a GPU"

_OTHERS = {
    "the other": "the same recipe as a plain Keras script with `ImageDataGenerator`",
    "PyTorch": "the same network in PyTorch, not augmented",
    "PyTorch, channels last": "the same network in PyTorch, not augmented, channels last",
}


def throughput(record: Record) -> Iterator[Line]:
    """The CPU seconds are those of the whole processes, the images/s those of the fit."""
    result = record.content
    sides, beside = rows_by(result, "side"), rows_by(result, "beside")
    ours = sides["mlreg"]
    for name, ratio in beside.items():
        other = sides[name]
        cpu = (ours["cpu_seconds"], other["cpu_seconds"])
        paired = (1.0, ratio["cpu_ratio"]) if "cpu_ratio" in ratio else cpu
        least = f"least {ratio['least']}"
        if "cpu_least" in ratio:
            least = f"least {ratio['cpu_least']} and {ratio['least']}"
        yield Line(
            SPEED,
            f"{result['epochs']} epochs of the recipe on {result['images']:,} images, "
            "validation included",
            f"{cpu[0]:.1f} CPU s; {ours['images_per_second']:,} images/s",
            f"{cpu[1]:.1f} CPU s; {other['images_per_second']:,} images/s",
            _OTHERS.get(name, name),
            compared(paired, (1.0, ratio["ratio"]), least),
            result["rounds"],
            paired[0] / paired[1],
            headline=True,
        )


def airbench(record: Record) -> Iterator[Line]:
    result = record.content
    sides, last = rows_by(result, "side"), result["rows"][-1]
    yield Line(
        SPEED,
        f"`airbench94`'s network in batches of {result['batch']:,}",
        f"{sides['mlreg']['images_per_second']:,} images/s",
        f"{sides['PyTorch']['images_per_second']:,} images/s",
        "the same network in PyTorch",
        compared(wall=(1.0, last["ratio"]), more=f"least {last['least']}"),
        result["rounds"],
        1 / last["ratio"],
    )


def gpu(record: Record) -> Iterator[Line]:
    """A default beside PyTorch, another precision too; what determinism costs beside itself."""
    sides = rows_by(record.content, "side")
    for name, ours in sides.items():
        program, preset, *settings = name.split()
        if program != "mlreg":
            continue
        if "deterministic=false" in settings:
            with_it = [each for each in settings if each != "deterministic=false"]
            other, beside = " ".join((program, preset, *with_it)), "with determinism"
        else:
            half = " half" if settings else ""
            other, beside = f"PyTorch {preset} compile{half}", "its network in PyTorch, compiled"
            beside += ", in half precision" if half else ""
        if other not in sides:
            continue
        ratio = sides[other]["images_per_second"] / ours["images_per_second"]
        yield Line(
            GPU,
            f"training of `{' '.join((preset, *settings))}`",
            _range(ours),
            _range(sides[other]),
            beside,
            compared(wall=(ratio, 1.0)),
            ours["n"],
            ratio,
        )


def _range(row: Mapping[str, Any]) -> str:
    return f"{row['images_per_second']:,} images/s ({row['least']:,} to {row['most']:,})"


def augmentation(record: Record) -> Iterator[Line]:
    sides = rows_by(record.content, "side")
    ours, other = sides["mlreg"], sides["ImageDataGenerator"]
    cpu = (ours["cpu_ms_per_1000_images"], other["cpu_ms_per_1000_images"])
    yield Line(
        SPEED,
        "1,000 images augmented, in batches of 32",
        f"{cpu[0]} CPU ms; {ours['images_per_second']:,} images/s",
        f"{cpu[1]} CPU ms; {other['images_per_second']:,} images/s",
        "`ImageDataGenerator`",
        compared(cpu, (other["images_per_second"], ours["images_per_second"])),
        record.content["rounds"],
        cpu[0] / cpu[1],
    )


def overhead(record: Record) -> Iterator[Line]:
    sides, last = rows_by(record.content, "side"), record.content["rows"][-1]
    ours, bare = sides["mlreg run"], sides["model.fit"]
    yield Line(
        SPEED,
        "a run's epochs, after the first",
        f"{ours['cpu_seconds']} CPU s; {ours['wall_seconds']} s",
        f"{bare['cpu_seconds']} CPU s; {bare['wall_seconds']} s",
        "a bare `model.fit` on the same pipeline",
        compared(
            (last["ratio"], 1.0),
            (ours["wall_seconds"], bare["wall_seconds"]),
            f"CPU of each round: {last['least']} to {last['most']} times",
        ),
        record.content["rounds"],
        last["ratio"],
    )


def roofline(record: Record) -> Iterator[Line]:
    """docs/profile.md has the parts."""
    wholes = rows_by(record.content, "whole")
    ours = wholes["step"]["microseconds"]
    operations = sum(row["operations"] for row in record.content["rows"] if "kernel" in row)
    floor = operations / record.content["limits"]["matmul"] * 1e6
    yield Line(
        SPEED,
        f"a step of {record.content['images']} images, with its input",
        f"{ours / 1000:.1f} CPU ms",
        f"{floor / 1000:.1f} CPU ms",
        "its operations at the speed of this processor's matrix product",
        compared((ours, floor)),
        record.content["rounds"],
        ours / floor,
    )


def startup(record: Record) -> Iterator[Line]:
    """The least import beside it is TensorFlow's, as every program that trains needs it."""
    base, ours = [row for row in record.content["rows"] if "side" in row][:2]
    cpu = (ours["cpu_seconds"], base["cpu_seconds"])
    yield Line(
        SPEED,
        "from the command to the end of the first training step",
        f"{cpu[0]} CPU s; {ours['wall_seconds']} s",
        f"{cpu[1]} CPU s; {base['wall_seconds']} s",
        f"`{base['side']}` alone",
        compared(cpu, (ours["wall_seconds"], base["wall_seconds"])),
        record.content["rounds"],
        cpu[0] / cpu[1],
        headline=True,
    )


def accuracy(record: Record) -> Iterator[Line]:
    """Accuracy and operations, which load does not change; the minutes of quiet runs."""
    result = record.content
    last = result["rows"][-1]
    runs = [row for row in result["rows"] if "seed" in row]
    other = next((row for row in result["rows"] if row.get("side") == "the other"), None)
    ours = accuracy_of(record)
    if last.get("operations"):
        ours += f"; {last['operations'] / 1e12:,.1f} TFLOP"
    theirs = f"{other['test_accuracy']:.4f}" if other else ""
    ratio = ""
    quiet = last.get("quiet", len(runs) if record.timed else 0)
    if quiet:
        cpu = last.get("cpu_minutes", statistics.median(row["cpu_minutes"] for row in runs))
        of = f" (n = {quiet})" if quiet < last["n"] else ""
        ours += f"; {cpu:.1f} CPU min; {last['minutes']:.1f} min{of}"
        if other:
            theirs += f"; {other['cpu_minutes']} CPU min; {other['minutes']} min"
            ratio = compared((cpu, other["cpu_minutes"]), (last["minutes"], other["minutes"]))
    yield Line(
        ACCURACY,
        f"preset `{result['preset']}`: test accuracy, operations of the training, and time of the "
        "whole command",
        ours,
        theirs,
        "the plain script" if other else "",
        ratio,
        last["n"],
        -last["mean"],
    )


def accuracy_of(record: Record) -> str:
    """`0.9406 ± 0.0017`, the deviation only of several runs."""
    last = record.content["rows"][-1]
    deviation = "" if last["deviation"] is None else f" ± {last['deviation']:.4f}"
    return f"{last['mean']:.4f}{deviation}"


def ablation(record: Record) -> Iterator[Line]:
    """Accuracy and operations, which load does not change; CPU time only from a quiet machine."""
    rows = rows_by(record.content, "variant")
    base = rows.get("whole")
    for row in rows.values():
        is_base = row is base
        ratio = ""
        if base and not is_base:
            ratio = f"accuracy {_signed(row['difference'], row['difference_deviation'])}"
            if row["operations"] and base["operations"]:
                ratio = f"operations {times(row['operations'], base['operations'])}; {ratio}"
        yield Line(
            VARIANTS,
            f"`{record.content['preset']}` with {_changes(row)}, {row['epochs']} epochs",
            _of_variant(record, row),
            _of_variant(record, base) if base and not is_base else "",
            _changes(base) if base and not is_base else "",
            ratio,
            row["n"],
            -row.get("difference", row["validation_accuracy"]),
        )


def _changes(row: Mapping[str, Any]) -> str:
    said = ", ".join(f"{key} {_plain(value)}" for key, value in row["changes"].items())
    return said or "its own settings"


def _of_variant(record: Record, row: Mapping[str, Any]) -> str:
    deviation = "" if row["deviation"] is None else f" ± {row['deviation']:.4f}"
    said = f"{row['validation_accuracy']:.4f}{deviation}"
    if row["operations"]:
        said += f"; {row['operations'] / 1e12:,.1f} TFLOP"
    if record.timed and row["others_share"] <= MAX_OTHERS_SHARE:
        said += f"; {row['cpu_seconds']:,.0f} CPU s"
    return said


def _plain(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


def _signed(difference: float, deviation: float | None) -> str:
    return f"{difference:+.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def example(record: Record) -> Iterator[Line]:
    """An example plugin beside models of scikit-learn's, trained on the same examples."""
    result = record.content
    ours, *others = result["rows"]
    metric = ours["metric"]
    deviation = "" if ours["deviation"] is None else f" ± {ours['deviation']:,}"
    yield Line(
        EXAMPLES,
        f"`mlreg run {result['plugin']}` on `{result['data']}`, {metric}, "
        f"{ours['test']:,} test examples",
        f"{ours['mean']:,}{deviation}",
        beside="; ".join(f"{row[metric]:,}: {row['side']}" for row in others if "side" in row),
        n=ours["n"],
        cost=ours["mean"] if metric == "test_mae" else -ours["mean"],
    )


def resume(record: Record) -> Iterator[Line]:
    last = record.content["rows"][-1]
    yield Line(
        STOPPED,
        f"`kill -9` of a `{record.content['preset']}` run at a random moment, and `mlreg resume`",
        f"{last['equal']} of {last['kills']} identical, bit for bit",
        beside="the run that was never stopped",
        n=last["kills"],
        cost=1 - last["equal"] / last["kills"],
        headline=True,
    )


def streams(record: Record) -> Iterator[Line]:
    names = {
        "indexed": "an `IndexedSplit`, read in any order",
        "stream": "a `StreamSplit`, read from its beginning",
    }
    result = record.content
    for kind, row in rows_by(result, "beside_memory").items():
        cpu = (1 / row["images_per_cpu_second"], 1 / row["memory_images_per_cpu_second"])
        wall = (1 / row["images_per_second"], 1 / row["memory_images_per_second"])
        yield Line(
            LARGE,
            f"pictures of 0.8 MB, a small model: {names.get(kind, kind)}",
            f"{row['images_per_cpu_second']:,} images per CPU s; "
            f"{row['images_per_second']:,} per s",
            f"{row['memory_images_per_cpu_second']:,} images per CPU s; "
            f"{row['memory_images_per_second']:,} per s",
            f"an `ArraySplit` of the same, {result['memory_gigabytes']:g} GB in memory",
            compared(cpu, wall),
            result["rounds"],
            cpu[0] / cpu[1],
        )
    for kind, row in rows_by(result, "side").items():
        if "killed_at" not in row:
            continue
        (killed, step), (resumed, first) = row["killed_at"], row["resumed_at"]
        again = (killed - resumed) * row["steps_per_epoch"] + step - first
        if "first_gigabyte_megabytes" in row:
            yield Line(
                LARGE,
                f"memory while {result['gigabytes']:g} GB are read: {names.get(kind, kind)}",
                f"{row['peak_megabytes']:,} MB at most",
                f"{row['first_gigabyte_megabytes']:,} MB",
                "after the first gigabyte",
                n=1,
                cost=row["peak_megabytes"],
            )
        yield Line(
            STOPPED,
            f"`kill -9` in mid-epoch while {result['gigabytes']:g} GB are read: "
            f"{names.get(kind, kind)}",
            f"{again} of {2 * row['steps_per_epoch']:,} steps trained again, "
            + ("identical weights" if row["equal_weights"] else "other weights"),
            f"memory {row['epoch_megabytes'][0]:,} MB after the first "
            f"epoch, {row['peak_megabytes']:,} MB at most",
            "never stopped",
            n=1,
            cost=again,
        )


def parallel(record: Record) -> Iterator[Line]:
    """Beside the first side: one run after another."""
    first, *others = (row for row in record.content["rows"] if "side" in row)
    for row in others:
        cpu = (row["cpu_seconds"], first["cpu_seconds"])
        wall = (row["wall_seconds"], first["wall_seconds"])
        overhead = row.get("overhead_a_run_seconds")
        yield Line(
            SEVERAL,
            f"{record.content['seeds']} seeds of `{record.content['preset']}`: {row['side']}",
            f"{cpu[0]} CPU s; {wall[0]} s"
            + ("" if overhead is None else f", {overhead} s a run beside its own stages")
            + ("" if row["same_weights"] else "; other weights"),
            f"{cpu[1]} CPU s; {wall[1]} s",
            first["side"],
            compared(cpu, wall),
            record.content["rounds"],
            cpu[0] / cpu[1],
        )
