"""The table of docs/figures.md, made from the latest records: `python -m benchmarks table`.

Benchmarks without a record have no line, and neither have times that were measured on a busy
machine or on an unknown processor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, describe, is_quiet

PAGE = Path(__file__).parent.parent / "docs" / "figures.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"

_HEAD = "| what | mlreg | beside it | ratio | date, n, machine |\n|---|---|---|---|---|\n"

# the names of benchmarks that measure no time begin so
_UNTIMED = ("accuracy-", "examples-")

Result = Mapping[str, Any]


def main(arguments: list[str]) -> None:
    """Write the table into docs/figures.md."""
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.split(END)[1], "utf-8")


def table(folder: Path = RESULTS) -> str:
    """The table as Markdown, with a line for each machine."""
    found = {file.stem: json.loads(file.read_text("utf-8")) for file in folder.glob("*.json")}
    machines: dict[str, str] = {}
    lines = []
    for name in (*_LINES, *sorted(each for each in found if each.startswith(_UNTIMED))):
        if name not in found or not (is_quiet(found[name]["machine"]) or _untimed(name)):
            continue
        machine = machines.setdefault(describe(found[name]["machine"]), "ABCDEFGHIJ"[len(machines)])
        make = _LINES.get(name, _examples if name.startswith("examples-") else _accuracy)
        lines += [f"| {line}, {machine} |\n" for line in make(found[name])]
    legend = "".join(f"{letter}: {words}.  \n" for words, letter in machines.items())
    return f"{legend}\n{_HEAD}{''.join(lines)}"


def _untimed(name: str) -> bool:
    """Whether a benchmark's line has no time, so that a busy machine does not change it."""
    return name in ("exports", "resume") or name.startswith(_UNTIMED)


def _rows(result: Result, key: str) -> dict[str, Any]:
    return {row[key]: row for row in result["rows"] if key in row}


def _line(what: str, ours: str, theirs: str, ratio: object, result: Result, n: object) -> str:
    return " | ".join((what, ours, theirs, str(ratio), f"{result['date']}, {n}"))


def _throughput(result: Result) -> Iterator[str]:
    sides, beside = _rows(result, "side"), _rows(result, "beside")
    names = {
        "the other": "the same recipe as a plain Keras script with `ImageDataGenerator`",
        "PyTorch": "the same network in PyTorch, not augmented",
        "PyTorch, channels last": "the same, channels last",
    }
    what = f"training the recipe on {result['images']:,} images, validation included"
    for name, ratio in beside.items():
        yield _line(
            what,
            f"{sides['mlreg']['images_per_second']:,} images/s",
            f"{sides[name]['images_per_second']:,} images/s: {names[name]}",
            f"{ratio['ratio']} (least {ratio['least']}); CPU {_cpu(sides, name)}",
            result,
            result["rounds"],
        )


def _cpu(sides: Mapping[str, Any], name: str) -> float:
    """How many times more CPU time a whole process of the other side takes."""
    ratio: float = sides[name]["cpu_seconds"] / sides["mlreg"]["cpu_seconds"]
    return round(ratio, 2)


def _airbench(result: Result) -> Iterator[str]:
    sides, last = _rows(result, "side"), result["rows"][-1]
    yield _line(
        f"training `airbench94`'s network in batches of {result['batch']:,}",
        f"{sides['mlreg']['images_per_second']:,} images/s",
        f"{sides['PyTorch']['images_per_second']:,} images/s: the same network in PyTorch",
        f"{last['ratio']} (least {last['least']})",
        result,
        result["rounds"],
    )


def _augmentation(result: Result) -> Iterator[str]:
    sides = _rows(result, "side")
    yield _line(
        "augmentation alone, batches of 32",
        f"{sides['mlreg']['images_per_second']:,} images/s",
        f"{sides['ImageDataGenerator']['images_per_second']:,} images/s: `ImageDataGenerator`",
        result["rows"][-1]["ratio"],
        result,
        result["rounds"],
    )


def _overhead(result: Result) -> Iterator[str]:
    sides, last = _rows(result, "side"), result["rows"][-1]
    yield _line(
        "CPU time of a run's epochs",
        f"{sides['mlreg run']['cpu_seconds']} s",
        f"{sides['model.fit']['cpu_seconds']} s: a bare `model.fit` on the same pipeline",
        f"{last['ratio']} ({last['least']} to {last['most']})",
        result,
        result["rounds"],
    )


def _startup(result: Result) -> Iterator[str]:
    base, ours = (row for row in result["rows"] if "side" in row)
    yield _line(
        "from the command to the end of the first training step",
        f"{ours['wall_seconds']} s",
        f"{base['wall_seconds']} s: `{base['side']}`",
        result["rows"][-1]["ratio"],
        result,
        result["rounds"],
    )


def _resume(result: Result) -> Iterator[str]:
    last = result["rows"][-1]
    yield _line(
        f"`kill -9` of a `{result['preset']}` run at a random moment, and `mlreg resume`",
        f"{last['equal']} of {last['kills']} identical, bit for bit",
        "the run that was never stopped",
        "",
        result,
        last["kills"],
    )


def _streams(result: Result) -> Iterator[str]:
    names = {
        "indexed": "an `IndexedSplit`, read in any order",
        "stream": "a `StreamSplit`, read from its beginning",
    }
    for kind, row in _rows(result, "side").items():
        yield _line(
            f"`kill -9` in mid-epoch while {result['gigabytes']} GB are read: {names[kind]}",
            f"{row['seconds_lost']} s lost, "
            + ("identical weights" if row["equal_weights"] else "other weights"),
            f"{row['whole_seconds']} s: never stopped; memory {row['epoch_megabytes'][0]:,} MB "
            f"after the first epoch, {row['peak_megabytes']:,} MB at most",
            "",
            result,
            1,
        )


def _tuners(result: Result) -> Iterator[str]:
    """A line for what a trial costs beside another tuner, and one for what kills cost."""
    sides = _rows(result, "side")
    bare = sides.pop("bare loop")
    ours = sides.pop("mlreg sweep")
    each = bare["wall_seconds"] / result["trials"]
    for name, row in sides.items():
        yield _line(
            f"overhead of a trial of {each:.2g} s, {result['trials']} trials one after another",
            _overhead_of_a_trial(ours),
            f"{_overhead_of_a_trial(row)}: {name} {row['version']}",
            "",
            result,
            1,
        )
    kills = f"a search of {result['killed_trials']} trials, `kill -9` {result['kills']} times"
    yield _line(
        f"{kills}, resumed by {ours['resumed']}",
        _after_kills(ours, result),
        "; ".join(
            f"{_after_kills(row, result)}: {name}, {row['resumed']}" for name, row in sides.items()
        ),
        "",
        result,
        result["kills"],
    )


def _overhead_of_a_trial(row: Mapping[str, Any]) -> str:
    return f"{row['wall_overhead_a_trial']} s, CPU {row['cpu_overhead_a_trial']} s"


def _after_kills(row: Mapping[str, Any], result: Result) -> str:
    if "failed" in row:
        return f"not resumed after kill {row['kills']}"
    known = row["ended_before_a_kill"]
    return (
        f"{row['trials_missing']} of {known} ended trials missing, {row['trials_again']} trained "
        f"again; {row['epochs_in_vain']} epochs in vain; {row['same_values']} of "
        f"{result['killed_trials']} trials as if never stopped"
    )


def _cli(result: Result) -> Iterator[str]:
    commands = _rows(result, "command")
    base = commands.pop("imports alone")
    for name in ("mlreg list", "mlreg show bench@1", "mlreg promote"):
        yield _line(
            f"`{' '.join(name.split()[:2])}`",
            f"{commands[name]['cpu_ms']} ms",
            f"{base['cpu_ms']} ms: the imports of such a command alone",
            commands[name]["ratio"],
            result,
            result["rounds"],
        )


def _registry(result: Result) -> Iterator[str]:
    for name, row in _rows(result, "command").items():
        yield _line(
            f"`mlreg {name}` with {result['many']:,} versions",
            f"{row['many_ms']} ms",
            f"{row['few_ms']} ms: with {result['few']}",
            row["ratio"],
            result,
            result["rounds"],
        )
    operations = _rows(result, "operation")
    operations.pop("import and open", None)  # this process has imported mlreg already
    for name, row in operations.items():
        calls = result["versions"] if name == "register" else result["calls"]
        yield _line(
            f"{name}, as a library" + (f" (of {result['versions']:,})" if name == "list" else ""),
            f"{row['mlreg_ms']} ms",
            f"{row['mlflow_ms']} ms: MLflow {result['mlflow']} with SQLite",
            row["ratio"],
            result,
            calls,
        )


def _team(result: Result) -> Iterator[str]:
    """Wall time, as most of it passes in the servers."""
    for name, row in _rows(result, "call").items():
        yield _line(
            f"a team's registry, {name}: {result['versions']:,} versions",
            f"{row['many_ms']} ms",
            f"{row['few_ms']} ms: with {result['few']}",
            row["ratio"],
            result,
            result["rounds"],
        )
    for name, row in _rows(result, "operation").items():
        yield _line(
            f"a team's registry, {name}",
            f"{row['mlreg_ms']} ms",
            f"{row['mlflow_ms']} ms: MLflow {result['mlflow']} with the same PostgreSQL and S3",
            row["ratio"],
            result,
            result["rounds"],
        )


def _scale(result: Result) -> Iterator[str]:
    """CPU time; for reading, also wall time, because several threads read."""
    for row in result["rows"]:
        ours, beside, ratio = f"{row['many_ms']} ms", f"{row['few_ms']} ms", row["ratio"]
        if row["kind"] == "past":
            what = f"`mlreg {row['command']}`, {result['ledger_rows']:,} ledger rows"
            beside += f": with {result['few']}"
        elif row["kind"] == "models":
            what = f"`mlreg list`, {result['models']:,} models"
            beside += f": with {result['few']}"
        else:
            what = f"`mlreg verify`, {result['megabytes']:,} MB"
            beside += f": SHA-256 alone, in one thread (ratio of wall time {row['wall_ratio']})"
        yield _line(what, ours, beside, ratio, result, result["rounds"])


def _lists(result: Result) -> Iterator[str]:
    for row in result["rows"]:
        what, call = "as a library", row["call"]
        if call.startswith("mlreg "):
            what, call = "", f"`{call}`"
        count = f"{result['versions']:,} versions"
        if "run" in row["call"]:
            count = f"{result['runs']:,} stopped runs"
        yield _line(
            ", ".join(filter(None, (call, count, what))),
            f"{row['many_ms']} ms",
            f"{row['few_ms']} ms: with {result['few']}",
            "",
            result,
            result["rounds"],
        )


def _accuracy(result: Result) -> Iterator[str]:
    """The accuracy, which load does not change; the minutes only from a quiet machine."""
    last = result["rows"][-1]
    deviation = "" if last["deviation"] is None else f" ± {last['deviation']:.4f}"
    other = next((row for row in result["rows"] if row.get("side") == "the other"), None)
    timed = is_quiet(result["machine"])
    beside = f"{other['test_accuracy']:.4f}" if other else ""
    if other and timed:
        beside += f" in {other['minutes']} min"
    yield _line(
        f"preset `{result['preset']}`, test accuracy"
        + (" and the command's time" if timed else ""),
        f"{last['mean']:.4f}{deviation}" + (f" in {last['minutes']} min" if timed else ""),
        beside and f"{beside}: the plain script",
        last.get("ratio", "") if timed else "",
        result,
        last["n"],
    )


def _examples(result: Result) -> Iterator[str]:
    """An example plugin beside models of scikit-learn's, trained on the same examples."""
    ours, *others = result["rows"]
    deviation = "" if ours["deviation"] is None else f" ± {ours['deviation']:,}"
    yield _line(
        f"`mlreg run {result['plugin']}` on `{result['data']}`, {ours['metric']}, "
        f"{ours['test']:,} test examples",
        f"{ours['mean']:,}{deviation}",
        "; ".join(f"{row[ours['metric']]:,}: {row['side']}" for row in others if "side" in row),
        "",
        result,
        ours["n"],
    )


def _exports(result: Result) -> Iterator[str]:
    """Sizes and differences, which load does not change; the latency only from a quiet machine."""
    timed = is_quiet(result["machine"])
    model = f"{result['dataset']} `{result['preset']}`"
    keras = f"{result['keras_size'] / 1e6:.1f} MB: the `.keras` file"
    for side, row in _rows(result, "side").items():
        share = row["largest_difference"] / row["largest_output"]
        yield _line(
            f"`mlreg export --format {side}` of {model}" + (", one example" if timed else ""),
            f"{row['size'] / 1e6:.1f} MB, outputs within {share:.1g} of the largest"
            + (f", {row['milliseconds']} ms" if timed else ""),
            keras + (f", {row['keras_milliseconds']} ms with Keras" if timed else ""),
            round(row["keras_milliseconds"] / row["milliseconds"], 2) if timed else "",
            result,
            result["rounds"],
        )
        if test := row.get("int8"):
            compared = test["comparison"]
            yield _line(
                f"test {compared['measure']} of {model} in 8-bit integers",
                f"{test['quantized']:.4f} ({compared['difference']:+.4f}, 95 % interval "
                f"{compared['low']:+.4f} to {compared['high']:+.4f}; {compared['test']})",
                f"{test['float']:.4f}: the float model",
                "",
                result,
                f"{compared['examples']:,} examples",
            )


_LINES: Mapping[str, Callable[[Result], Iterator[str]]] = {
    "throughput": _throughput,
    "airbench": _airbench,
    "augmentation": _augmentation,
    "overhead": _overhead,
    "startup": _startup,
    "exports": _exports,
    "resume": _resume,
    "streams": _streams,
    "tuners": _tuners,
    "scale": _scale,
    "lists": _lists,
    "cli": _cli,
    "registry": _registry,
    "team": _team,
}
