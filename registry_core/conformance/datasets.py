"""Rules about the data. A plugin that reads it with TensorFlow needs TensorFlow for them."""

from __future__ import annotations

from registry_core.conformance.importing import presets_survive_json
from registry_core.conformance.rule import DATASET, NotApplicable, RuleFailure, rule
from registry_core.conformance.subject import Subject
from registry_core.data.checks import fingerprint, named_splits


@rule(
    "mlreg_dataset returns the splits",
    remedy="Correct what the message names. Data in another place: --data-dir, or -p.",
    cost="data",
    kinds=DATASET,
    needs=[presets_survive_json],
)
def data_loads(subject: Subject) -> object:
    """Call mlreg_dataset, with an empty home folder; mlreg's own cache is the user's."""
    return subject.loaded


@rule(
    "Splits are non-empty, finite and in range",
    remedy="Leave out bad examples, or fill in missing values, before you return the splits.",
    cost="data",
    kinds=DATASET,
    needs=[data_loads],
)
def splits_valid(subject: Subject) -> object:
    """Check all arrays, and read all streams, as a run does before it trains."""
    return subject.data


@rule(
    "mlreg_dataset gives the same data twice",
    remedy="Seed what you draw (np.random.default_rng(seed)), and sort what a folder lists.",
    cost="data",
    kinds=DATASET,
    needs=[splits_valid],
)
def data_repeats(subject: Subject) -> None:
    """Call mlreg_dataset again, and compare fingerprints and the first examples."""
    again = named_splits(subject.load_again())
    for name, split in named_splits(subject.data).items():
        if subject.fingerprints[name] != fingerprint(again[name]):
            raise RuleFailure(f"The {name} split has another fingerprint the second time.")
        if subject.first_digests(split) != subject.first_digests(again[name]):
            raise RuleFailure(f"The {name} split yields other examples the second time.")


@rule(
    "No training example is in another split",
    remedy="Remove duplicates before you split. A few are in many public datasets: if they have to "
    "stay, list this rule as an expected failure.",
    cost="data",
    tier="recommended",
    kinds=DATASET,
    needs=[splits_valid],
)
def splits_share_no_example(subject: Subject) -> None:
    """Compare the inputs of the splits byte by byte; streams are not compared."""
    for warning in subject.data_warnings:
        if "are also in the training split" in warning:
            raise RuleFailure(f"{warning}.")


@rule(
    "Another process gets the same data",
    remedy="Sort what is in a set or a folder before you number it: sorted(set(names)).",
    cost="model",
    kinds=DATASET,
    needs=[data_repeats],
)
def data_repeats_elsewhere(subject: Subject) -> None:
    """Compare the fingerprints in two processes, for which the order of a set differs."""
    if subject.fingerprints_elsewhere is None:
        raise NotApplicable("Its data is read with TensorFlow, in one process of this check.")
    for name, found in subject.fingerprints.items():
        if found != subject.fingerprints_elsewhere[name]:
            raise RuleFailure(f"The {name} split has another fingerprint in another process.")


RULES = (data_loads, splits_valid, data_repeats, splits_share_no_example)
