"""Figures for every kind of run."""

import subprocess
import sys
import warnings
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from PIL import Image

from registry_core.config import RunConfig
from registry_core.evaluation import figures as plotting
from registry_core.evaluation.figures import canvas
from registry_core.tasks import Classification, MultiLabel, Regression, Segmentation
from registry_core.types import Evaluation, History, RunResult

pytestmark = pytest.mark.drawn

FIFTY = [0.8 - 0.4 * 0.9**epoch for epoch in range(50)]


@pytest.fixture(autouse=True)
def _no_warnings():
    """A figure that matplotlib complains about is a figure that is not right."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def figures(monkeypatch):
    """Every figure drawn, to be asked what is in it."""
    drawn = []

    class Remembered(canvas.Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            drawn.append(self)

    monkeypatch.setattr(canvas, "Figure", Remembered)
    return drawn


def result(history=None, outputs=None, targets=None, class_names=(), model="wine"):
    outputs = np.zeros((0, 1), np.float32) if outputs is None else outputs
    targets = np.zeros(len(outputs)) if targets is None else targets
    evaluation = Evaluation({}, outputs, np.zeros(len(outputs), np.float32), targets)
    history = history or History({})
    return RunResult(
        model, "wine", "tiny", RunConfig(), history, {}, evaluation, tuple(class_names)
    )


def pixels_of(path, colour):
    """How many pixels have a colour, given as #rrggbb."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    with Image.open(path) as image:
        return int((np.asarray(image.convert("RGB")) == wanted).all(axis=-1).sum())


def names(paths):
    return [path.name for path in paths]


# --- history ------------------------------------------------------------------------------------


def test_validation_on_the_test_split_is_labelled(tmp_path, figures):
    """The legend says that the validation curve comes from the test split."""
    history = History({"loss": [2, 1], "val_loss": [2, 2]})
    plotting.plot_history(history, tmp_path, validated_on_test=True)
    legend = [text.get_text() for text in figures[0].axes[0].get_legend().get_texts()]
    assert legend == ["training (1 at the end)", "validation = the test split (2 at the end)"]


def test_a_metric_and_its_validation_share_a_figure(tmp_path, figures):
    """Any metric `m` is drawn together with `val_m`, in the history's order."""
    history = History({"mae": [3, 2], "loss": [2, 1], "val_mae": [3, 3], "val_loss": [2, 2]})
    written = plotting.plot_history(history, tmp_path, "wine tiny")
    assert names(written) == ["mae.png", "loss.png"]
    axes = figures[0].axes[0]
    assert axes.get_title(loc="left") == "wine tiny: mae after each epoch"
    assert axes.get_xlabel() == "epoch"
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["training (2 at the end)", "validation (3 at the end)"]
    assert list(axes.get_lines()[1].get_xdata()) == [1, 2]
    assert list(axes.get_lines()[1].get_ydata()) == [3, 3]


@pytest.mark.gate
def test_without_validation_the_test_value_is_a_horizontal_line(tmp_path, figures):
    """With validation, the figure does not show the test value."""
    history = History({"mae": [3, 2], "loss": [2, 1], "val_loss": [2, 2]})
    last = {"test_mae": 2.5, "test_loss": 2.25}
    plotting.plot_history(history, tmp_path, "wine tiny", last)
    mae, loss = (figure.axes[0].get_legend().get_texts() for figure in figures)
    assert [text.get_text() for text in mae] == [
        "training (2 at the end)",
        "test split (2.5, measured once)",
    ]
    assert [text.get_text() for text in loss] == [
        "training (1 at the end)",
        "validation (2 at the end)",
    ]
    assert list(figures[0].axes[0].get_lines()[1].get_ydata()) == [2.5, 2.5]


def test_validation_alone_is_drawn(tmp_path, figures):
    """A metric may be measured on the validation split only."""
    assert names(plotting.plot_history(History({"val_auc": [0.5]}), tmp_path)) == ["auc.png"]
    assert len(figures[0].axes[0].get_lines()) == 1


@pytest.mark.gate
def test_one_epoch_can_be_seen(tmp_path):
    """A line of one point is invisible; a marker is not."""
    history = History({"accuracy": [0.5], "val_accuracy": [0.4], "learning_rate": [0.001]})
    accuracy, rate = plotting.plot_history(history, tmp_path)
    legend_alone = 60  # a legend's own marker is about that many pixels
    assert pixels_of(accuracy, plotting.TRAINING) > legend_alone
    assert pixels_of(accuracy, plotting.VALIDATION) > legend_alone
    assert pixels_of(rate, plotting.TRAINING) > 30


def test_epochs_without_a_finite_value_are_marked(tmp_path, figures):
    """A diverged run shows where: a gap in the curve and a cross at the bottom."""
    loss = [2.0, float("nan"), 1.5, float("inf"), float("-inf")]
    (path,) = plotting.plot_history(History({"loss": loss}), tmp_path)
    line, crosses = figures[0].axes[0].get_lines()
    assert list(crosses.get_xdata()) == [2, 4, 5]
    assert np.isfinite(line.get_ydata()).tolist() == [True, False, True, False, False]
    assert "at the end" not in line.get_label()
    assert path.exists()


@pytest.mark.gate
def test_isolated_epochs_of_a_long_run_keep_their_marker(tmp_path, figures):
    """Between two gaps there is no line, so the point itself has to be visible."""
    values = list(FIFTY)
    values[10] = values[12] = float("nan")
    plotting.plot_history(History({"accuracy": values}), tmp_path)
    assert figures[0].axes[0].get_lines()[0].get_markevery() == [11]


@pytest.mark.gate
def test_a_history_of_nothing_but_nan_is_drawn(tmp_path):
    """It is drawn without an error."""
    history = History({"loss": [float("nan")] * 3, "learning_rate": [float("nan")] * 3})
    assert names(plotting.plot_history(history, tmp_path)) == ["loss.png", "learning_rate.png"]


@pytest.mark.parametrize("metrics", [{}, {"loss": [], "val_loss": []}])
def test_an_empty_history_has_no_figures(tmp_path, metrics):
    """No epoch, no picture."""
    assert plotting.plot_history(History(metrics), tmp_path) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.gate(keep=3)
@pytest.mark.parametrize(
    ("rates", "scale"),
    [
        ([1e-3, 1e-4], "log"),
        ([1e-3, 2e-4], "linear"),
        ([1e-3, 0.0], "linear"),
        ([0.0, 0.0], "linear"),
        ([1e-3], "linear"),
    ],
)
def test_learning_rates_get_a_log_scale_from_a_factor_of_ten(tmp_path, figures, rates, scale):
    """A staircase over decades is legible, and a zero does not break it."""
    plotting.plot_learning_rate(rates, tmp_path / "learning_rate.png")
    assert figures[0].axes[0].get_yscale() == scale


@pytest.mark.gate(keep=3)
@pytest.mark.parametrize("epochs", [1, 2, 3, 50, 400])
def test_epochs_are_counted_from_one_in_whole_numbers(tmp_path, figures, epochs):
    """There is no epoch 0 and no epoch 1.5."""
    plotting.plot_history(History({"loss": [1.0] * epochs}), tmp_path)
    axes = figures[0].axes[0]
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks
    assert all(tick >= 1 and tick == int(tick) for tick in ticks)


@pytest.mark.gate
def test_unusual_metric_names_become_valid_file_names(tmp_path):
    """A metric's name cannot leave the folder, hide a file or replace another metric's file."""
    history = History({"../up": [1], "a b": [1], "a/b": [1], "é": [1], "$x$_{": [1], "/": [1]})
    written = plotting.plot_history(history, tmp_path)
    assert names(written) == ["up.png", "a_b.png", "a_b_2.png", "é.png", "x.png", "metric.png"]
    assert set(tmp_path.iterdir()) == set(written)


# --- classes ------------------------------------------------------------------------------------


def confusion(classes, examples=2_000):
    random = np.random.default_rng(classes)
    targets = random.integers(0, classes, examples)
    wrong = random.random(examples) < 0.2
    return targets, np.where(wrong, random.integers(0, classes, examples), targets)


def test_cells_count_the_examples_of_true_rows_and_predicted_columns(tmp_path, figures):
    """Two cats taken for dogs stand in the cats' row, and the title counts what was right."""
    targets, predictions = np.array([0, 0, 0, 1]), np.array([1, 1, 0, 1])
    path = tmp_path / "confusion_matrix.png"
    plotting.plot_confusion_matrix(targets, predictions, ["cat", "dog"], path, "pets tiny")
    axes = figures[0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["1", "2", "0", "1"]
    parts = axes.get_images()[0].get_array()
    np.testing.assert_allclose(parts, [[1 / 3, 2 / 3], [0, 1]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    title = " ".join(axes.get_title(loc="left").split())
    assert title == "pets tiny: true and predicted classes, 50.0% of 4 test examples right"


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(
    ("classes", "numbered"), [(2, True), (20, True), (21, False), (100, False)]
)
def test_cells_show_counts_if_they_fit(tmp_path, figures, classes, numbered):
    """Every class name is shown from 2 to 100 classes; above 20 there are colours only."""
    class_names = [f"kind {number}" for number in range(classes)]
    path = tmp_path / "confusion_matrix.png"
    plotting.plot_confusion_matrix(*confusion(classes), class_names, path)
    axes = figures[0].axes[0]
    assert len(axes.texts) == (classes**2 if numbered else 0)
    assert [label.get_text() for label in axes.get_yticklabels()] == class_names
    # everything lies inside the picture
    box = axes.get_tightbbox()
    width, height = figures[0].bbox.size
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


@pytest.mark.gate
def test_names_are_shortened_kept_apart_and_taken_literally(tmp_path, figures):
    """Long names keep their ends, formulas are not typeset, undrawable names become numbers."""
    class_names = ["a long name of a category 1", "a long name of a category 2", "$5–$10", "Übär"]
    class_names += ["\U0010fffd", "two\nlines", ""]
    path = tmp_path / "confusion_matrix.png"
    plotting.plot_confusion_matrix(*confusion(7), class_names, path)
    labels = [label.get_text() for label in figures[0].axes[0].get_xticklabels()]
    assert labels == [
        "a long name … category 1",
        "a long name … category 2",
        "$5–$10",
        "Übär",
        "class 4",
        "two lines",
        "class 6",
    ]


@pytest.mark.gate
def test_classes_without_a_name_or_examples_are_shown(tmp_path, figures):
    """A class without a name has its number, a class without examples an empty row."""
    path = tmp_path / "confusion_matrix.png"
    plotting.plot_confusion_matrix(np.array([0, 3]), np.array([0, 0]), ["a", "b"], path)
    labels = [label.get_text() for label in figures[0].axes[0].get_xticklabels()]
    assert labels == ["a", "b", "class 2", "class 3"]


# --- what fits a result -------------------------------------------------------------------------


@pytest.mark.gate
def test_classes_get_a_confusion_matrix_and_the_history_its_figures(tmp_path, figures):
    """Integers in one column or one column a class, the targets are read either way."""
    outputs = np.eye(3, dtype=np.float32)
    for targets in (np.array([0, 1, 2]), np.array([[0], [1], [2]]), np.eye(3)):
        drawn = plotting.standard_figures(
            result(History({"loss": [1.0]}), outputs, targets, ["a", "b", "c"]), tmp_path
        )
        assert names(drawn) == ["loss.png", "confusion_matrix.png"]
        assert "100.0%" in figures[-1].axes[0].get_title(loc="left")


def test_titles_name_the_model_if_it_differs_from_the_dataset(tmp_path, figures):
    """With `--name`, the title says which model it is."""
    history = History({"loss": [1.0]})
    plotting.standard_figures(result(history, model="claret"), tmp_path)
    assert figures[0].axes[0].get_title(loc="left") == "claret (wine tiny): loss after each epoch"


@pytest.mark.gate
def test_examples_without_finite_outputs_are_left_out(tmp_path, figures):
    """If no example has finite outputs, there is no figure."""
    outputs = np.array([[1, 0], [np.nan, 0], [0, np.inf]], np.float32)
    plotting.standard_figures(result(None, outputs, np.array([0, 1, 1]), "ab"), tmp_path)
    assert "of\n1 test examples right" in figures[0].axes[0].get_title(loc="left")
    outputs[:] = np.nan
    assert plotting.standard_figures(result(None, outputs, np.zeros(3), "ab"), tmp_path) == []


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("shape", [(30,), (30, 1)])
def test_single_numbers_get_predicted_against_true(tmp_path, figures, shape):
    """A regression's picture has one point for each finite example."""
    true = np.linspace(-1, 1, 30).reshape(shape)
    predicted = (true * 0.9).astype(np.float32)
    predicted[3] = np.nan
    drawn = plotting.standard_figures(result(None, predicted, true), tmp_path)
    assert names(drawn) == ["predicted_and_true.png", "residuals.png"]
    for figure, label in zip(figures, ("predicted", "predicted minus true"), strict=True):
        axes = figure.axes[0]
        assert len(axes.collections[0].get_offsets()) == 29
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("true", label)


def by_task(task, outputs, targets, threshold=0.5):
    """A result of this task."""
    losses = np.zeros(len(outputs), np.float32)
    evaluation = Evaluation({}, np.asarray(outputs), losses, np.asarray(targets))
    evaluation = replace(evaluation, threshold=threshold)
    names = tuple(task.class_names)
    config, history = RunConfig(), History({})
    return RunResult("wine", "wine", "tiny", config, history, {}, evaluation, names, task=task)


@pytest.mark.gate
def test_one_unit_for_two_classes_gets_a_confusion_matrix(tmp_path, figures):
    """A logit above 0, or a probability above 0.5, is the second class."""
    task, targets = Classification(("no", "yes")), np.array([0, 1, 1, 0])
    for threshold, outputs in ((0.0, [-2, 0.2, 3, 0.3]), (0.5, [0.1, 0.6, 0.9, 0.7])):
        drawn = plotting.standard_figures(
            by_task(task, np.float32(outputs)[:, None], targets, threshold), tmp_path
        )
        assert names(drawn) == ["confusion_matrix.png"]
        cells = [int(text.get_text()) for text in figures[-1].axes[0].texts]
        assert cells == [1, 1, 0, 2]


def test_labels_get_precision_and_recall(tmp_path, figures):
    """A label that no example has and none gets is marked, and its examples are counted."""
    true = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]])
    outputs = np.array([[0.9, 0.2, 0], [0.8, 0.7, 0], [0.6, 0, 0], [0.1, 0, 0]], np.float32)
    drawn = plotting.standard_figures(
        by_task(MultiLabel(("abc", "b", "c")), outputs, true), tmp_path
    )
    assert names(drawn) == ["labels.png"]
    axes = figures[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["abc (3)", "b (1)", "c (0)"]
    shown = [text.get_text() for text in axes.texts]
    assert shown == ["0.667", "0.000", "none", "0.667", "0.000", "none"]


@pytest.mark.gate
def test_each_target_of_a_regression_has_its_name_and_unit(tmp_path, figures):
    """On both axes of its own figures."""
    true = np.array([[20.0, 1e5], [40, 2e5], [60, 3e5]])
    task = Regression(("age", "price"), ("years", "EUR"))
    drawn = plotting.standard_figures(by_task(task, true - [1, 2000], true), tmp_path)
    assert names(drawn) == [
        f"{kind}_{number}.png" for number in (0, 1) for kind in ("predicted_and_true", "residuals")
    ]
    axes = [figure.axes[0] for figure in figures]
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == (
        "true age (years)",
        "predicted age (years)",
    )
    title = " ".join(axes[3].get_title(loc="left").split())
    assert "errors of price, on average 2,000 EUR off and 2,000 EUR too low" in title


def test_places_get_the_intersection_over_union_of_each_class(tmp_path, figures):
    """Ignored places count for nothing; a class that is nowhere has no value."""
    true = np.array([[[0, 0], [1, 9]], [[0, 1], [1, 1]]])
    answered = np.array([[[0, 1], [1, 2]], [[0, 1], [1, 1]]])
    task = Segmentation(("road", "car", "sky"), ignore=9)
    outputs = np.eye(3, dtype=np.float32)[answered]
    assert names(plotting.standard_figures(by_task(task, outputs, true), tmp_path)) == ["iou.png"]
    assert [text.get_text() for text in figures[0].axes[0].texts] == ["0.667", "0.800", "none"]


@pytest.mark.parametrize(
    ("outputs", "targets", "class_names"),
    [
        (np.zeros((4, 9), np.float32), np.zeros((4, 9)), ()),  # many numbers an example
        (np.zeros((4, 2), np.float32), np.zeros(4), ()),  # a mean and a variance
        (np.zeros((4, 5, 3), np.float32), np.zeros((4, 5)), "abc"),  # a class for each place
        (np.zeros((4, 1), np.float32), np.zeros(4), "abc"),  # classes without a value for each
        (np.zeros((0, 1), np.float32), np.zeros(0), ()),
        (np.zeros((0, 3), np.float32), np.zeros(0, int), "abc"),
    ],
)
def test_unsupported_outputs_have_no_figure(tmp_path, outputs, targets, class_names):
    """A plugin's own report can draw them."""
    assert plotting.standard_figures(result(None, outputs, targets, class_names), tmp_path) == []


def test_equal_predictions_and_targets_have_a_range(tmp_path):
    """One value everywhere is a point in the middle, not an error."""
    plotting.plot_predictions(np.ones(3), np.ones(3), tmp_path / "predicted_and_true.png")


# --- files --------------------------------------------------------------------------------------


@pytest.mark.gate
def test_equal_input_gives_equal_bytes(tmp_path):
    """No date, no version, nothing random: a figure's digest says whether it changed."""
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        written.append(plotting.plot_history(History({"accuracy": FIFTY}), folder)[0].read_bytes())
        targets = folder / "confusion_matrix.png"
        plotting.plot_confusion_matrix(*confusion(10), list("abcdefghij"), targets)
        written.append(targets.read_bytes())
    assert written[:2] == written[2:]
    with Image.open(tmp_path / "one" / "accuracy.png") as image:
        assert image.info.keys() == {"dpi"}
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)


def test_a_failed_figure_leaves_the_previous_file(tmp_path, monkeypatch):
    """A file is complete, or it is the previous one."""
    path = tmp_path / "loss.png"
    path.write_bytes(b"before")

    def fails(figure, draft, **kwargs):
        draft.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(canvas.Figure, "savefig", fails)
    with pytest.raises(OSError, match="No space"):
        plotting.plot_metric("loss", [1.0], None, path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("loss.png", b"before")]


@pytest.mark.gate
def test_a_users_matplotlib_settings_have_no_effect_and_do_not_change(tmp_path):
    """A matplotlibrc made for slides does not change a version's figures."""
    history = History({"loss": [2.0, 1.0]})
    before = plotting.plot_history(history, tmp_path)[0].read_bytes()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert plotting.plot_history(history, tmp_path)[0].read_bytes() == before
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.gate
def test_pyplot_is_not_imported():
    """No window system, no global figures."""
    script = (
        "import sys, registry_core.evaluation.figures; print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
