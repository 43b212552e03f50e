"""Comparisons in words: the difference, its interval, the p-value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from registry_core.formatting import counted, fraction, signed
from registry_core.refs import series

if TYPE_CHECKING:
    from registry_core.evaluation.paired_tests import Comparison


def format_comparison(comparison: Comparison, candidate: str, incumbent: str) -> str:
    """A comparison in one line: difference, interval, p-value, disagreements.

    The interval is of how much better the candidate is, in the objective's unit, also where less of
    the objective is better.

    Args:
        comparison: the comparison.
        candidate: name of the candidate in the text.
        incumbent: name of the incumbent in the text.
    """
    percent = f"{100 * comparison.confidence:.4g} %"
    if comparison.measure == "accuracy":
        gain = f"accuracy {comparison.difference:+.4f}"
        interval = f"{percent} interval {comparison.low:+.4f} to {comparison.high:+.4f}"
    else:
        name, unit = comparison.measure, in_unit(comparison.unit)
        side = "worse" if comparison.difference < 0 else "better"
        gain = f"{name} {side} by {fraction(name, abs(comparison.difference))}{unit}"
        low, high = (signed(name, end) for end in (comparison.low, comparison.high))
        interval = f"{percent} interval of the gain {low} to {high}{unit}"
    line = (
        f"{gain}, {interval}, {format_p_value(comparison.p_value)} ({comparison.test} on "
        f"{comparison.examples:,} examples"
    )
    if comparison.only_candidate is not None and comparison.only_incumbent is not None:
        line += (
            f"; only {candidate} right: {comparison.only_candidate:,}; "
            f"only {incumbent} right: {comparison.only_incumbent:,}"
        )
    return f"{line})"


def in_unit(unit: str) -> str:
    """` years`; nothing without a unit."""
    return f" {unit}" if unit else ""


def format_p_value(p_value: float) -> str:
    """A p-value as text: `p = 0.031`; one that underflows to 0 is `p < 1e-300`."""
    return f"p = {p_value:.2g}" if p_value else "p < 1e-300"


def format_group_comparison(found: Mapping[str, Any]) -> str:
    """A comparison of two groups in one line: difference of the means, interval, p-value.

    Args:
        found: what `GroupEvidence.comparison` returned, or a row of the ledger has.

    Raises:
        KeyError, TypeError, ValueError: a newer mlreg wrote it.
    """
    name, difference = found["measure"], found["difference"]
    percent = f"{100 * found['confidence']:.4g} %"
    low, high = (signed(name, found[end]) for end in ("low", "high"))
    if found["direction"] == "max":
        gain, interval = f"mean {name} {signed(name, difference)}", f"{percent} interval"
    else:
        side = "worse" if difference < 0 else "better"
        gain = f"mean {name} {side} by {fraction(name, abs(difference))}"
        interval = f"{percent} interval of the gain"
    ours, theirs = found["versions"]
    return (
        f"{gain}, {interval} {low} to {high}, {format_p_value(found['p_value'])} "
        f"({found['test']}, {counted(ours, 'version')} against {theirs:,})"
    )


def format_group_choice(found: Mapping[str, Any]) -> str:
    """Which version of a group stands for it, and how it was chosen.

    Args:
        found: what `GroupEvidence.to_json` returned, or a row of the ledger has.

    Raises:
        KeyError, TypeError, ValueError: a newer mlreg wrote it.
    """
    versions = found["candidate"]["versions"]
    model = found["chosen"].partition("@")[0]
    name = series(model, [int(each["ref"].partition("@")[2]) for each in versions])
    value, metric = found["chosen_value"], found["validation_metric"]
    if found["chosen_by"] == "hand" or value is None:
        return f"for its group {name}, chosen by hand"
    present = sum(not each["removed"] for each in versions)
    return f"for its group {name}, the median of {present} by {metric} {fraction(metric, value)}"


def format_row_group(evidence: Mapping[str, Any]) -> str:
    """As `format_group_choice`, for the evidence of any row of the ledger.

    Returns:
        Empty if the row is about a version alone.
    """
    found = evidence.get("group")
    if not isinstance(found, Mapping):
        return ""
    try:
        return format_group_choice(found)
    except (KeyError, TypeError, ValueError, AttributeError):  # a newer mlreg wrote it
        return "for its group"
