"""Rules about the schedule, the augmentation and the untrained model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from registry_core.conformance.datasets import splits_valid
from registry_core.conformance.importing import hooks_spelt_right
from registry_core.conformance.rule import ANY_KIND, DATASET, NotApplicable, RuleFailure, rule
from registry_core.conformance.subject import Subject
from registry_core.data.checks import fingerprint, named_splits, steps
from registry_core.lifecycle.assembly import assemble
from registry_core.lifecycle.reproduce import EphemeralWorkspace
from registry_core.types import Assembly

_AUGMENTED = 16


@rule(
    "The learning rate is positive and finite in every epoch",
    remedy="Return a rate above 0 for every epoch from 0 to epochs - 1.",
    cost="model",
    kinds=DATASET,
    needs=[splits_valid],
)
def schedule_positive(subject: Subject) -> None:
    """Call the schedule for each epoch of the preset; Keras's own for the epochs' outer steps."""
    spec, plugins = subject.spec, subject.plugins
    steps_per_epoch = steps(len(subject.data.train), spec.config.batch_size)
    schedule = plugins.call("mlreg_scheduler", config=spec.config, steps_per_epoch=steps_per_epoch)
    if schedule is None:
        raise NotApplicable("It has no mlreg_scheduler.")
    from registry_core.training.trial import TrialBackend, rates

    with plugins.attribute_errors("mlreg_scheduler"):
        TrialBackend(spec.config).initial_learning_rate(schedule)
        for when, rate in rates(schedule, spec.config.epochs, steps_per_epoch):
            if not math.isfinite(rate) or rate <= 0:
                raise RuleFailure(f"The learning rate of {when} is {rate:g}.")


@rule(
    "The augmentation keeps shape and dtype",
    remedy="Return a tensor of the inputs' shape: of their dtype, or floats for whole numbers.",
    cost="model",
    kinds=DATASET,
    needs=[splits_valid],
)
def augmentation_keeps_shape(subject: Subject) -> None:
    """Run it in a graph; whole numbers may become floats, which a shift between pixels gives."""
    changed = _augmented(subject, 0)
    plain = _changed(subject, None, 0)
    if len(plain) != len(changed):
        raise RuleFailure(f"It returned {len(changed)} arrays for {len(plain)}.")
    for before, after in zip(plain, changed, strict=True):
        if before.shape != after.shape:
            raise RuleFailure(f"It made shape {after.shape[1:]} of {before.shape[1:]}.")
        kinds = f"{before.dtype.kind}{after.dtype.kind}"
        if before.dtype != after.dtype and kinds not in ("uf", "if", "bf"):
            raise RuleFailure(f"It made {after.dtype} of {before.dtype}.")


@rule(
    "The augmentation repeats for the same seed",
    remedy="Draw with tf.random.stateless_… and batch.seed.",
    cost="model",
    kinds=DATASET,
    needs=[augmentation_keeps_shape],
)
def augmentation_repeats_by_seed(subject: Subject) -> None:
    """Augment the same examples twice with the same seed, epoch and step."""
    if _differ(_augmented(subject, 0), _augmented(subject, 0)):
        raise RuleFailure("The same seed gave other inputs the second time.")


@rule(
    "The augmentation differs from seed to seed",
    remedy="Draw with batch.seed, which differs for each run, epoch and step. If it is meant to be "
    "the same every time, list this rule as an expected failure.",
    cost="model",
    tier="recommended",
    kinds=DATASET,
    needs=[augmentation_keeps_shape],
)
def augmentation_differs_by_seed(subject: Subject) -> None:
    """Augment the same examples with four seeds."""
    first = _augmented(subject, 0)
    if not any(_differ(first, _augmented(subject, seed)) for seed in (1, 2, 3)):
        raise RuleFailure("Four seeds gave the same inputs.")


@rule(
    "The model fits the task",
    remedy="Correct what the message names; the model takes the raw inputs of the dataset.",
    cost="model",
    kinds=ANY_KIND,
    needs=[hooks_spelt_right, splits_valid, schedule_positive, augmentation_keeps_shape],
)
def model_fits_task(subject: Subject) -> object:
    """Build everything that training needs and run the model on a few examples."""
    with _assembly(subject) as built:
        return built


@rule(
    "The hooks leave inputs and targets as they are",
    remedy="Copy an array before you change it: array = array.copy().",
    cost="model",
    kinds=DATASET,
    needs=[model_fits_task],
)
def data_left_alone(subject: Subject) -> None:
    """Compare the splits' fingerprints before and after augmentation, model and callbacks."""
    for name, split in named_splits(subject.few).items():
        if fingerprint(split) != subject.few_fingerprints[name]:
            raise RuleFailure(f"A hook changed the {name} split.")


@rule(
    "The untrained model has the same outputs after loading",
    remedy="Put a layer's state into weights or get_config.",
    cost="model",
    kinds=DATASET,
    needs=[model_fits_task],
)
def untrained_model_loads(subject: Subject) -> None:
    """Save the model as it is before training, load it, and compare outputs."""
    with _assembly(subject) as (backend, assembly), subject.plugins.attribute_errors("mlreg_model"):
        backend.really_check_savable(assembly, subject.new_folder("untrained"))


@contextmanager
def _assembly(subject: Subject) -> Iterator[tuple[Any, Assembly]]:
    """The backend, and what a short run trains, in the run's precision."""
    spec, observer = subject.short(), subject.observer()
    context = subject.context(observer)
    folder = subject.folder / "assembly"
    folder.mkdir(exist_ok=True)
    backend = context.load_backend(spec.config)
    with subject.plugins.attribute_errors("mlreg_dataset"):
        data = backend.check_data(subject.few)
    with backend.precision():
        yield backend, assemble(spec, data, backend, EphemeralWorkspace(folder), context)


def _augmented(subject: Subject, seed: int) -> list[Any]:
    made = subject.plugins.call(
        "mlreg_augmentation", config=subject.short().config, data=subject.few
    )
    if made is None:
        raise NotApplicable("It has no mlreg_augmentation.")
    return _changed(subject, made, seed)


def _changed(subject: Subject, augmentation: Any, seed: int) -> list[Any]:
    from registry_core.training.trial import augmented

    with subject.plugins.attribute_errors("mlreg_augmentation"):
        return augmented(subject.few.train, augmentation, seed, _AUGMENTED)


def _differ(some: list[Any], others: list[Any]) -> bool:
    import numpy as np

    return not all(
        np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        for one, other in zip(some, others, strict=True)
    )


RULES = (
    schedule_positive,
    augmentation_keeps_shape,
    augmentation_repeats_by_seed,
    augmentation_differs_by_seed,
    model_fits_task,
    data_left_alone,
    untrained_model_loads,
)
