"""Numbers, times and untrusted text, formatted for people to read. Knows no terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from registry_core.records import PARENT

if TYPE_CHECKING:
    from registry_core.evaluation.summary_stats import SummaryStats
    from registry_core.records import Origin, Version

_SHARES = frozenset(("f1", "iou"))
_CONTROL = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def literal(text: str) -> str:
    """The text with every control, formatting and line-ending character escaped.

    Such a text can neither move the cursor nor break a line.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if unicodedata.category(character) not in _CONTROL
        else character.encode("unicode_escape").decode()
        for character in text
    )


def as_typed(value: object) -> str:
    """A setting's value as `-p` takes it: a text as it is, anything else as JSON."""
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def number(value: float) -> str:
    """A number for a table: 1.235e-07, 0.7801, 12.31, 17,650, 1.765e+07."""
    magnitude = abs(value)
    if 10_000 <= magnitude < 10_000_000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if 1 <= magnitude < 10_000 else f"{value:.4g}"


def fraction(name: str, value: float) -> str:
    """A metric's value; one between 0 and 1, such as an accuracy, always has four decimals."""
    return f"{value:.4f}" if is_share(name) else number(value)


def is_share(name: str) -> bool:
    """Whether a metric is a share of something, between 0 and 1, by its name."""
    return "accuracy" in name or not _SHARES.isdisjoint(name.split("_"))


def spread(name: str, sample: SummaryStats) -> str:
    """A metric over several runs: 0.4470 ± 0.0300, mean and standard deviation."""
    mean = fraction(name, sample.mean)
    if sample.std is None:
        return mean
    decimals = len(mean.partition(".")[2])
    if "e" in mean or not round(sample.std, decimals):  # smaller than the rounding of the mean
        return f"{mean} ± {number(sample.std)}"
    return f"{mean} ± {sample.std:,.{decimals}f}"


def signed(name: str, difference: float) -> str:
    """A metric's difference, with its sign: +0.0120."""
    return f"{'+' if difference >= 0 else ''}{fraction(name, difference)}"


def epochs_of(training: Mapping[str, Any]) -> str:
    """How many epochs ran: `50 epochs`, or `12 of 50 epochs`."""
    ran, of = training["epochs"], training["of"]
    return counted(ran, "epoch") if ran == of else f"{ran:,} of {counted(of, 'epoch')}"


def training_facts(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a person should know of how a training ended; nothing of an ordinary end.

    Args:
        training: `training` of a manifest.
    """
    facts = []
    if phases := training["phases"]:
        parts = [(each["name"], each["epochs"]) for each in phases]
        said = (f"{name} {count} epoch{'' if count == 1 else 's'}" for name, count in parts)
        facts.append(("phases", ", ".join(said)))
    if stopped := training["stopped_by"]:
        facts.append(("stopped by", stopped))
    if changed := training["weights_changed_by"]:
        epoch = training["weights_from_epoch"]
        whose = "of no single epoch" if epoch is None else f"of epoch {epoch}"
        facts.append(("weights", f"{whose}, by {changed}"))
    return facts


def work_facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a record says of the model's parameters and of the operations; nothing of older ones.

    `operations`: `101.9 TFLOP in training, 5.2 TFLOP in evaluation`.
    """
    facts = []
    parameters, found = manifest.get("parameters"), manifest.get("operations")
    if isinstance(parameters, Mapping):
        names = sorted(parameters, reverse=True)  # `trainable`, `fixed`
        parts = [f"{parameters[name]:,} {name}" for name in names if parameters[name]]
        facts.append(("parameters", ", ".join(parts) or "none"))
    if isinstance(found, Mapping):
        parts = [
            f"{flop(found[stage])} in {stage}"
            for stage in ("training", "validation", "evaluation")
            if found.get(stage)
        ]
        if parts and (missed := found.get("not_counted")):
            parts.append(f"without {', '.join(missed[:3])}{', …' if len(missed) > 3 else ''}")
        if found.get("why_not"):
            parts.append(f"training not counted: {found['why_not']}")
        if parts:
            facts.append(("operations", ", ".join(parts)))
    return facts


def flop(operations: int) -> str:
    """A number of floating-point operations: 950 FLOP, 1.9 TFLOP."""
    value, units = float(operations), ("", "k", "M", "G", "T", "P", "E")
    place = 0
    while value >= 999.95 and place + 1 < len(units):
        value, place = value / 1000, place + 1
    return f"{value:.1f} {units[place]}FLOP" if place else f"{operations} FLOP"


def better_when(metric: str, direction: str, unit: str = "") -> str:
    """An objective: `test_mae in years, lower is better`."""
    side = "higher" if direction == "max" else "lower"
    return f"{metric}{f' in {unit}' if unit else ''}, {side} is better"


def duration(seconds: float) -> str:
    """A duration: 9.4 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def counted(count: int, noun: str) -> str:
    """`1 version`, `1,200 versions`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """A number of bytes: 512 B, 1.5 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def metrics_line(metrics: Mapping[str, float]) -> str:
    """`accuracy 0.7801  loss 0.64`, names without underscores."""
    return "  ".join(f"{n.replace('_', ' ')} {fraction(n, v)}" for n, v in metrics.items())


def stages_line(seconds: Mapping[str, float]) -> str:
    """`data 0.5 s, training 30.1 s, evaluation 2.4 s`, in the order of a run."""
    nouns = {
        "data": "data",
        "model": "model",
        "fit": "training",
        "evaluate": "evaluation",
        "validate": "validation",
        "save": "saving",
        "plot": "figures",
    }
    return ", ".join(
        f"{noun} {duration(seconds[stage])}" for stage, noun in nouns.items() if stage in seconds
    )


def when(moment: str) -> str:
    """An ISO 8601 time as `2026-03-05 09:14 UTC`."""
    return f"{moment[:10]} {moment[11:16]} UTC"


def copy_of(origin: Origin) -> str:
    """Where a copied version was registered first: `flowers@3 of registry 0f3a9b2c1d4e`."""
    return f"{origin.ref} of registry {origin.registry[:12]}"


def parent_of(manifest: Mapping[str, Any]) -> str:
    """The version whose weights a training started with, `flowers@3`; empty without one."""
    parent = manifest.get(PARENT)
    return str(parent.get("ref", "")) if isinstance(parent, Mapping) else ""


def parent_facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a record says of the version whose weights the training started with.

    `starts from`: `flowers@3 (manifest 0f3a9b2c1d4e), 12 of 14 layers, 268,650 of 269,322
    parameters`.
    """
    ref, parent = parent_of(manifest), manifest.get(PARENT)
    if not ref or not isinstance(parent, Mapping):
        return []
    line = f"{ref} (manifest {str(parent.get('digest'))[:12]})"
    taken, fresh = parent.get("taken"), parent.get("fresh")
    if isinstance(taken, Sequence) and isinstance(fresh, Mapping):
        line += f", {len(taken):,} of {counted(len(taken) + len(fresh), 'layer')}"
    some, every = parent.get("parameters"), parent.get("of_parameters")
    if isinstance(some, int) and isinstance(every, int):
        line += f", {some:,} of {every:,} parameters"
    return [("starts from", line)]


def age(moment: str, now: datetime | None = None) -> str:
    """The age of an ISO 8601 time: `just now`, `5 min ago`, `2 h ago`, `3 days ago`.

    Times older than a month, or in the future, are shown as a date.
    """
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    if -60 <= seconds < 60:
        return "just now"
    if 0 < seconds < 3600:
        return f"{seconds / 60:.0f} min ago"
    if 0 < seconds < 86_400:
        return f"{seconds / 3600:.0f} h ago"
    if 0 < seconds < 31 * 86_400:
        return f"{counted(round(seconds / 86_400), 'day')} ago"
    return moment[:10]


def registration(version: Version) -> str:
    """`Registered flowers@1: test_accuracy 0.4725, test_loss 1.48, in 19.3 s`."""
    metrics = ", ".join(
        f"{name} {fraction(name, value)}" for name, value in version.metrics.items()
    )
    return f"Registered {version.ref}: {metrics}, in {duration(sum(version.seconds.values()))}"
