"""A page with every chart and part of the theme: `python tests/sample_page.py FILE`."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

from markupsafe import Markup, escape

from registry_core.reports import charts
from registry_core.sections import (
    Axis,
    Bar,
    BarChart,
    Heatmap,
    Histogram,
    LineChart,
    ParallelCoordinates,
    Scatter,
    Series,
)

THEME = Path(charts.__file__).parents[1] / "theme.css"
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def curve(start: float, end: float, count: int, seed: int = 0, noise: float = 0.02) -> list[float]:
    """A curve that flattens out, as learning curves do."""
    drawn = random.Random(seed)
    return [
        end + (start - end) * math.exp(-4 * step / count) + drawn.gauss(0, noise * abs(start - end))
        for step in range(count)
    ]


def confusion(count: int, seed: int = 1) -> list[list[int]]:
    """Mostly right, sometimes a neighbour."""
    drawn = random.Random(seed)
    return [
        [
            drawn.randint(700, 990) if row == column else int(drawn.expovariate(1 / 12))
            for column in range(count)
        ]
        for row in range(count)
    ]


def usual() -> list[charts.Chart]:
    """The charts of an ordinary report."""
    rates = [0.1 * min(1, (step + 1) / 5) * 0.9**step for step in range(50)]
    recall = [0.91, 0.95, 0.82, 0.71, 0.88, 0.79, 0.93, 0.92, 0.95, 0.94]
    means = [0.15, 0.25, 0.36, 0.45, 0.55, 0.65, 0.75, 0.85, 0.97]
    right = [0.22, 0.24, 0.31, 0.41, 0.46, 0.58, 0.66, 0.8, 0.95]
    drawn = random.Random(3)
    true = [drawn.gauss(300, 90) for _ in range(800)]
    return [
        LineChart(
            "Accuracy",
            (
                Series("training", curve(0.35, 0.96, 50, 1)),
                Series("validation", curve(0.33, 0.9, 50, 2)),
            ),
            x_label="epoch",
            y_label="accuracy",
        ),
        LineChart(
            "Loss",
            (
                Series("training", curve(2.3, 0.2, 50, 4)),
                Series("validation", curve(2.2, 0.45, 50, 5)),
            ),
            x_label="epoch",
            y_label="cross-entropy",
        ),
        LineChart(
            "Learning rate",
            (Series("learning rate", rates),),
            x_label="epoch",
            y_label="learning rate",
            is_log=True,
        ),
        LineChart(
            "Calibration",
            (
                Series(
                    "accuracy",
                    right,
                    [value - 0.05 for value in right],
                    [min(1.0, value + 0.05) for value in right],
                ),
            ),
            x=means,
            x_label="mean confidence",
            y_label="share that is right",
            diagonal=True,
        ),
        BarChart(
            "Recall by class",
            tuple(
                Bar(name, value, value - 0.03, min(1.0, value + 0.02), "1,000 examples")
                for name, value in zip(CLASSES, recall, strict=True)
            ),
            x_label="recall, with 95 % intervals",
            top=1.0,
        ),
        Heatmap(
            "Confusion matrix",
            CLASSES,
            CLASSES,
            confusion(10),
            row_label="true class",
            column_label="predicted class",
            by_row=True,
        ),
        Scatter(
            "Predicted and true",
            tuple((value, value + drawn.gauss(4, 25)) for value in true),
            "true, EUR",
            "predicted, EUR",
            diagonal=True,
        ),
        Histogram(
            "Residuals",
            [edge * 10.0 - 100 for edge in range(21)],
            [int(200 * math.exp(-(((bin_ - 10.5) / 3.5) ** 2))) for bin_ in range(20)],
            "predicted minus true, EUR",
        ),
    ]


def odd() -> list[charts.Chart]:
    """Charts that are hard to draw."""
    nan, drawn = math.nan, random.Random(7)
    long = "A class whose name goes on, " * 8
    walk = [0.0]
    for _ in range(19_999):
        walk.append(walk[-1] + drawn.gauss(0, 1))
    cloud = [(drawn.gauss(0, 1), drawn.gauss(0, 1)) for _ in range(20_000)]
    return [
        LineChart("One point", (Series("validation", [0.5]),), x_label="epoch", y_label="accuracy"),
        LineChart("No point", (Series("validation", [None, nan]),)),
        LineChart(
            "Gaps, and a long name",
            (
                Series("training", [1.0, 0.9, None, 0.7, nan, 0.5, 0.45]),
                Series(long, [1.2, math.inf, 1.0, 0.9, 0.85, 0.8, 0.79]),
                Series("דיוק על נתוני האימות", [0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6]),
                Series("<script>alert(1)</script>", [0.25, 0.35, 0.4, 0.46, 0.5, 0.56, 0.6]),
            ),
            x_label="epoch",
            y_label="loss",
        ),
        LineChart(
            "Fifteen runs",
            tuple(
                Series(f"run {each}", curve(2.3, 0.3 + each / 40, 30, each)) for each in range(15)
            ),
            x_label="epoch",
            y_label="loss",
        ),
        LineChart("20,000 steps", (Series("loss", walk),), x_label="step", y_label="loss"),
        LineChart(
            "Mean of five seeds",
            (
                Series(
                    "baseline",
                    curve(0.3, 0.9, 20, 1, 0),
                    curve(0.25, 0.88, 20, 1, 0),
                    curve(0.36, 0.92, 20, 1, 0),
                ),
                Series(
                    "wide",
                    curve(0.4, 0.85, 20, 1, 0),
                    curve(0.35, 0.82, 20, 1, 0),
                    curve(0.43, 0.88, 20, 1, 0),
                ),
            ),
            x_label="epoch",
            y_label="accuracy",
        ),
        LineChart("Huge and tiny", (Series("scale", [-1e308, 5e-324, 1e308]),)),
        LineChart("Constant", (Series("rate", [0.001] * 20),), x_label="epoch", is_log=True),
        BarChart(
            "Differences",
            (
                Bar("rotation", 0.012, 0.004, 0.02),
                Bar("blur", -0.034, -0.05, -0.018),
                Bar(long, 0.001, -0.01, 0.012, "not tested"),
                Bar("nothing known", None),
            ),
            x_label="change of accuracy",
        ),
        BarChart(
            "Recall of 300 classes",
            tuple(Bar(f"class {each}", drawn.random() ** 0.3) for each in range(300)),
            x_label="recall",
            top=1.0,
        ),
        Heatmap(
            "100 classes",
            [f"class {each}" for each in range(100)],
            [f"class {each}" for each in range(100)],
            confusion(100),
            "true class",
            "predicted class",
            by_row=True,
        ),
        Heatmap(
            "30 classes",
            [f"class {each}" for each in range(30)],
            [f"class {each}" for each in range(30)],
            confusion(30),
            "true class",
            "predicted class",
            by_row=True,
        ),
        Heatmap(
            "Yes or no", ("no", "yes"), ("no", "yes"), [[4312, 88], [121, 979]], "true", "said"
        ),
        Heatmap(
            "Correlations",
            ("height", "weight", "age"),
            ("height", "weight", "age"),
            [[1, 0.71, -0.2], [0.71, 1, -0.9], [-0.2, -0.9, 1]],
        ),
        Scatter("20,000 points", cloud, "first component", "second component"),
        Scatter("Few points", ((1, 2), (3, 1), (2, 8), (4, 4))),
        *searched(),
    ]


def searched() -> list[charts.Chart]:
    """What a search over settings shows."""
    drawn = random.Random(5)
    rates = [10 ** drawn.uniform(-4, -2) for _ in range(24)]
    sizes = [drawn.randrange(3) for _ in rates]
    accuracy = [
        0.6 - 0.1 * abs(math.log10(rate) + 3) - 0.02 * size + drawn.gauss(0, 0.02)
        for rate, size in zip(rates, sizes, strict=True)
    ]
    best = max(range(24), key=lambda each: accuracy[each])
    so_far = [max(accuracy[: each + 1]) for each in range(24)]
    dropout = [drawn.uniform(0.1, 0.5) for _ in rates]
    rows = zip(rates, sizes, dropout, accuracy, strict=True)
    return [
        LineChart(
            "Values by trial",
            (Series("best so far", so_far), Series("trial", accuracy, only_points=True)),
            x_label="trial",
        ),
        ParallelCoordinates(
            "Settings and values",
            (
                Axis("learning_rate", is_log=True),
                Axis("batch_size", names=("32", "64", "128")),
                Axis("dropout_of_the_last_layers"),
                Axis("val_accuracy"),
            ),
            [
                Series(f"trial {place}", (*row[:3], row[3] if place % 7 else None))
                for place, row in enumerate(rows, start=1)
            ],
            (best, 0, 3),
        ),
        Scatter(
            "Value by learning rate",
            list(zip(rates, accuracy, strict=True)),
            "learning_rate",
            "val_accuracy",
            x_is_log=True,
            marked=(best,),
        ),
        Scatter(
            "Value by batch size",
            list(zip(map(float, sizes), accuracy, strict=True)),
            "batch_size",
            "val_accuracy",
            x_names=("32", "64", "128"),
            marked=(best,),
        ),
    ]


def parts() -> Markup:
    """Everything of the theme that is no chart."""
    row = (
        "<tr><th scope='row'><a href='#t'>cifar10@{}</a></th><td>baseline</td><td>{}</td>"
        "<td class='number'>0.91{}4</td><td class='number'>1,28{}</td>"
        "<td>2026-03-0{} 09:14 UTC</td></tr>"
    )
    rows = "".join(
        row.format(each, charts.sparkline(curve(0.3, 0.9, 20, each), "accuracy"), each, each, each)
        for each in range(1, 8)
    )
    pixel = (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGP8"
        "z8DAwMDAxMDAwMDAAAANHQEDasKb6QAAAABJRU5ErkJggg=="
    )
    item = (
        f"<figure><img src='{pixel}' alt='an example'><figcaption>Example 17</figcaption><dl class"
        "='facts'><div><dt>true</dt><dd>cat</dd></div><div><dt>believed</dt><dd>dog, 93 %</dd>"
        "</div></dl></figure>"
    )
    fact = "<div><dt>{}</dt><dd>{}</dd></div>"
    facts = "".join(
        fact.format(*each)
        for each in (
            ("test accuracy", "0.9134 <small>0.9078 to 0.9187</small>"),
            ("test loss", "0.3121"),
            ("preset", "baseline"),
            ("seed", "7"),
            ("training", "50 epochs, 3 min 20 s"),
            ("digest", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        )
    )
    return Markup(
        f"""<section><h2 id="t">Metrics</h2><dl class="facts">{facts}</dl></section>
<section><h2>Versions</h2><form class="row"><span class="field"><label for="w">Where</label>
<input id="w" value="test_accuracy&gt;0.9" size="24"></span><span class="field">
<label for="p">Preset</label><select id="p"><option>any</option><option>baseline</option></select>
</span><label class="check"><input type="checkbox" checked> tagged</label>
<button class="primary">Filter</button><button>Clear</button>
<button class="danger">Roll back</button></form><br>
<div class="scroll" tabindex="0" role="region" aria-label="Versions"><table><thead><tr>
<th scope="col">version</th><th scope="col">preset</th><th scope="col">accuracy</th>
<th scope="col" class="number">test accuracy</th><th scope="col" class="number">seconds</th>
<th scope="col">made</th></tr></thead><tbody>{rows}</tbody></table></div>
<nav class="pages" aria-label="Pages"><a class="button" href="#t">Newer</a><span class="muted">
7 of 1,204</span><a class="button" href="#t">Older</a></nav></section>
<section><h2>Messages</h2><p>Stages: <span class="badge good">production</span>
<span class="badge warn">candidate</span> <span class="badge bad">damaged</span>
<span class="badge">reviewed=yes</span> <span class="badge accent">running</span></p>
<div class="alert"><p>The gate compares with <a href="#t">cifar10@3</a>.</p></div>
<div class="alert good"><p><strong>Passed.</strong> Accuracy is higher by 0.012.</p></div>
<div class="alert warn"><p><strong>Old format.</strong> This version has no examples.</p></div>
<div class="alert bad"><p><strong>Refused.</strong> Accuracy is lower by 0.034.</p></div>
<p class="empty">No run is going on.</p></section>
<section><h2>Worst mistakes</h2><div class="gallery">{item * 8}</div></section>
<section><h2>Load it</h2><pre tabindex="0"><code>import mlreg

model = mlreg.Registry().load("cifar10@3")
probabilities = model.predict(images.astype("float32") / 255.0, batch_size=256, verbose=0)
</code></pre><p>Or type <code>mlreg predict cifar10@3 picture.png</code>.</p></section>"""
    )


def page() -> str:
    """The whole page."""
    drawn = [
        Markup('<section><h2>{}</h2><div class="blocks">{}</div></section>').format(
            title, Markup("").join(charts.draw(each) for each in found)
        )
        for title, found in (("Charts", usual()), ("Odd charts", odd()))
    ]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Sample</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{THEME.read_text('utf-8')}</style></head><body>"
        "<a class='skip' href='#main'>Skip to content</a><header class='top'><nav "
        "aria-label='Main'><a class='brand' href='#'>mlreg</a><a href='#' aria-current='page'>"
        "Models</a><a href='#'>Runs</a><a href='#'>Ledger</a></nav></header>"
        "<nav class='crumbs' aria-label='Breadcrumbs'><ol><li><a href='#'>models</a></li><li>"
        "<a href='#'>cifar10</a></li><li aria-current='page'>version 3</li></ol></nav>"
        f"<main id='main'><h1>{escape('cifar10@3')}</h1><p class='subtitle'>baseline, seed 7, "
        f"registered 2026-03-05 09:14 UTC</p>{parts()}{''.join(drawn)}</main></body></html>"
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), "utf-8")
