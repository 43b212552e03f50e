"""Where the CPU time of a training step of `baseline` goes, beside what the machine can do.

Measures the machine's own limits and the step in the same run: on one thread for each kernel, on
all for the whole. Writes docs/profile.md, with a section and a picture for each kind of machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, records
from benchmarks.measure import command_cost, report

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "profile.md"
BEGIN, END = "<!-- profile -->\n", "<!-- end of profile -->\n"

IMAGES_PER_STEP = 32

_ALTERNATIVE = (
    "The kernels of a step by operations per byte and operations per second: the convolutions are "
    "close to the roof of the processor, normalisation and pooling far below that of the cache"
)

# a kernel that takes less of the step is not drawn
_LEAST_SHARE = 0.005


def main(arguments: list[str]) -> None:
    """`python -m benchmarks roofline`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks roofline", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="the least of these is stated")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="write page and picture there")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    one, every = (_measured(threads, options.rounds) for threads in ("one", "all"))
    limits = {**one["machine"], "matmul_all": every["matmul"]}
    rows = [*one["kernels"], *parts(one, every)]
    if options.to:
        options.to.mkdir(parents=True, exist_ok=True)
        draw(rows, limits, options.to / "roofline.svg")
        (options.to / PAGE.name).write_text(tables(rows, limits), "utf-8")
    more = {"limits": limits, "images": IMAGES_PER_STEP, "rounds": options.rounds}
    report("roofline", rows, options.record, **more)
    if options.record:
        draw(rows, limits, DOCS / _picture(machine.processor()))
        for page, text in pages().items():
            page.write_text(text, "utf-8")


def pages() -> dict[Path, str]:
    """The page with a section for each machine's record, or as it is if nothing was recorded."""
    text = PAGE.read_text("utf-8")
    found = [each.content for each in records.read().get("roofline", []) if each.timed]
    if found:
        before, rest = text.split(BEGIN)
        made = "\n".join(map(_section, found))
        text = before + BEGIN + made + END + rest.split(END)[1]
    return {PAGE: text}


def _section(record: Mapping[str, Any]) -> str:
    facts = record["machine"]
    known = [f"{name} {facts[name]}" for name in ("family", "model") if facts.get(name)]
    heading = ", ".join([facts["vectors"], *known])
    return (
        f"## {heading}\n\nMeasured on {machine.describe(facts)}, {record['date']}.\n\n"
        f"![{_ALTERNATIVE}]({_picture(facts)})\n\n{tables(record['rows'], record['limits'])}"
    )


def _picture(facts: Mapping[str, Any]) -> str:
    """The name of a machine's picture."""
    return f"roofline-{records.machine_name(facts)}.svg"


def _measured(threads: str, rounds: int) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.roofline_step", threads, str(rounds)]
    found: dict[str, Any] = json.loads(command_cost(words).report)
    return found


def parts(one: Mapping[str, Any], every: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts of a step, in CPU microseconds; together they are the step in Keras's `fit`.

    Args:
        one: what `roofline_step` measured on one thread.
        every: what it measured on all.
    """
    of_kernels: dict[str, float] = defaultdict(float)
    for each in one["kernels"]:
        of_kernels[_group(each)] += each["microseconds"]
    named = {**of_kernels, **one["others"]}
    found = {
        **named,
        "TensorFlow between the operations": one["step"] - sum(named.values()),
        "input: reading a batch": one["gather"],
        "input: augmentation": one["input"] - one["gather"],
        "more threads, and Keras around the step": every["fit"] - one["step"] - one["input"],
    }
    total = {"whole": "step", "microseconds": every["fit"]}
    beside = {"whole": "validation image", "microseconds": every["validation_image"]}
    return [*({"part": name, "microseconds": each} for name, each in found.items()), total, beside]


def _group(kernel: Mapping[str, Any]) -> str:
    kind = kernel["kernel"].partition(",")[0]
    direction = kernel["direction"].partition(",")[0]
    return f"{kind}: {direction}"


def roof(intensity: float, limits: Mapping[str, float], level: str = "cache") -> float:
    """The operations per second that one core can do at this intensity.

    Args:
        intensity: operations per byte.
        limits: of the machine.
        level: `memory` or `cache`, where the bytes are.
    """
    return min(limits["matmul"], intensity * limits[level])


def tables(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, float]) -> str:
    """The limits, the parts and the kernels as Markdown."""
    whole, image = (_whole(rows, name) for name in ("step", "validation image"))
    giga = {name: f"{each / 1e9:.0f}" for name, each in limits.items()}
    floor = least_microseconds(rows, limits)
    lines = [
        f"One core multiplies float32 matrices at {giga['matmul']} GFLOP/s ({giga['matmul_all']} "
        f"for each CPU second on all cores) and copies {giga['cache']} GB/s within its cache, "
        f"{giga['memory']} GB/s from memory. A step of {IMAGES_PER_STEP} images takes {whole:,.0f} "
        f"µs of CPU time with its input, {whole / IMAGES_PER_STEP:.0f} µs an image. Its operations "
        f"alone would take {floor:,.0f} µs at the speed of the matrix product. Validation takes "
        f"{image:.0f} µs an image.\n",
        "| part of a step | CPU µs | share |\n|---|---:|---:|",
    ]
    for row in sorted(rows, key=lambda row: -row["microseconds"]):
        if "part" in row:
            share = row["microseconds"] / whole
            lines.append(f"| {row['part']} | {row['microseconds']:,.0f} | {share:.1%} |")
    lines.append("\n| kernel | CPU µs | GFLOP/s | GB/s | of its roof |\n|---|---:|---:|---:|---:|")
    for row in rows:
        if "kernel" in row and row["microseconds"] > 0:
            speed = row["operations"] / row["microseconds"] * 1e6
            limit = roof(row["operations"] / row["bytes"], limits)
            lines.append(
                f"| {row['kernel']}: {row['direction']} | {row['microseconds']:,.0f} | "
                f"{speed / 1e9:.1f} | {row['bytes'] / row['microseconds'] / 1e3:.0f} | "
                f"{speed / limit:.0%} |"
            )
    return "\n".join(lines) + "\n"


def least_microseconds(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, float]) -> float:
    """How long the operations of all kernels would take at the speed of the matrix product."""
    operations = sum(float(row["operations"]) for row in rows if "kernel" in row)
    return operations / limits["matmul"] * 1e6


def _whole(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return next(float(row["microseconds"]) for row in rows if row.get("whole") == name)


def draw(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, float], path: Path) -> None:
    """The roofline: operations per second over operations per byte, both logarithmic.

    The area of a point is its CPU time.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "mlreg"
    mpl.rcParams["svg.fonttype"] = "none"  # letters stay text, in the reader's font
    import matplotlib.pyplot as plt

    whole = _whole(rows, "step")
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for level, words, style in (("cache", "the cache", "-"), ("memory", "memory", "--")):
        span = (0.05, limits["matmul"] / limits[level], 300)
        heights = [roof(each, limits, level) / 1e9 for each in span]
        label = f"roof with the data in {words}: {limits[level] / 1e9:.0f} GB/s"
        axes.plot(span, heights, style, color="0.3", label=label)
    colours = {"convolution": "C0", "dense layer": "C4", "batch normalisation": "C1"}
    shown = [row for row in rows if "kernel" in row and row["microseconds"] > whole * _LEAST_SHARE]
    seen: set[str] = set()
    for number, row in enumerate(sorted(shown, key=lambda row: -row["microseconds"]), 1):
        kind = row["kernel"].partition(",")[0]
        place = row["operations"] / row["bytes"], row["operations"] / row["microseconds"] / 1e3
        axes.scatter(
            *place,
            s=4000 * row["microseconds"] / whole,
            color=colours.get(kind, "C2"),
            alpha=0.55,
            label=kind if kind not in seen else None,
        )
        seen.add(kind)
        axes.annotate(str(number), place, ha="center", va="center", fontsize=8)
        words = f"{number}  {row['kernel']}: {row['direction']}, {row['microseconds']:,.0f} µs"
        axes.text(
            1.02, 1 - 0.043 * number, words, transform=axes.transAxes, fontsize=7.5, va="center"
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="operations per byte",
        ylabel="GFLOP/s on one core",
        title="Kernels of a training step; the area is the CPU time",
    )
    legend = axes.legend(loc="lower right", fontsize=8)
    for handle in legend.legend_handles[2:]:
        handle.set_sizes([40])
    axes.grid(alpha=0.3, which="both", linewidth=0.4)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
