"""Charts are correct and safe with any numbers and names."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry_core.reports.charts import draw, is_chart, sparkline
from registry_core.reports.charts.lines import spread_out
from registry_core.reports.charts.scales import scale_of
from registry_core.reports.charts.words import at, number, shortened, width
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
    Text,
)

pytestmark = pytest.mark.drawn

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>' & \x00\ufffe\x1b[0m"


def tree(chart) -> ElementTree.Element:
    """The chart as a tree, after the checks that hold for all of them."""
    found = ElementTree.fromstring(str(draw(chart)))
    for element in found.iter():
        assert element.tag not in ("script", "style", "foreignObject", "image", "a", "use")
        names = set(element.attrib)
        assert not names & {"style", "id", "href"} and not any(n.startswith("on") for n in names)
        for name, value in element.attrib.items():
            assert not re.search(r"(?i)\b(nan|inf)\b|e[+-]\d", value) or name == "aria-label", value
    return found


def texts(chart) -> list[str]:
    """What is written in the picture, without what appears below a pointer."""
    picture = tree(chart).find("svg")
    hidden = {each for group in picture.iter("g") for each in group.iter("text")}
    return [each.text for each in picture.iter("text") if each not in hidden]


def paths(chart, css: str) -> list[str]:
    return [each.get("d") for each in tree(chart).iter("path") if each.get("class") == css]


def cells(chart) -> list[list[str]]:
    """The table of numbers."""
    rows = tree(chart).findall("details//tr")
    return [["".join(cell.itertext()) for cell in row] for row in rows]


def line(*values, **kwargs) -> LineChart:
    return LineChart("Loss", (Series("loss", values),), x_label="epoch", **kwargs)


def test_every_chart_says_in_words_what_it_shows():
    """Name and description for who cannot see it: first, last, lowest, highest."""
    picture = tree(line(2.5, 0.5, 1.25)).find("svg")
    assert picture.get("role") == "img"
    assert picture.findtext("title") == "Loss"
    assert picture.findtext("desc") == (
        "loss: from 2.5 at epoch 1 to 1.25 at epoch 3; lowest 0.5 at 2, highest 2.5 at 1."
    )


def test_a_line_goes_through_its_values():
    """Straight data are a straight line from corner to corner of the axes."""
    (path,) = paths(line(0, 5, 10, x=(0, 1, 2)), "line s1")
    points = [tuple(map(float, each.split())) for each in path[1:].split("L")]
    (x1, y1), (x2, y2), (x3, y3) = points
    assert x2 == pytest.approx((x1 + x3) / 2, abs=0.1)
    assert y2 == pytest.approx((y1 + y3) / 2, abs=0.1) and y1 > y3


def test_gaps_are_gaps_and_lone_points_are_seen():
    """A line is not drawn over what is missing."""
    chart = line(1.0, 2.0, None, 3.0, math.nan, 4.0, math.inf, 2.0, 1.0)
    (path,) = paths(chart, "line s1")
    assert path.count("M") == 2
    alone = line(*([1.0, None] * 200))
    assert not paths(alone, "line s1")
    assert paths(alone, "dots s1")[0].count("M") == 200


def test_a_logarithmic_axis_leaves_out_what_is_not_positive_and_says_so():
    """Zero has no logarithm."""
    chart = line(0.1, 0.0, -1.0, 0.001, is_log=True)
    assert "2 values are 0 or less" in tree(chart).findtext("p")
    assert {"0.1", "0.01", "0.001"} <= set(texts(chart))
    assert "All values are 0 or less" in "".join(tree(line(0, -1, is_log=True)).itertext())


def test_names_at_the_lines_ends_do_not_overlap():
    """However close the ends are."""
    series = tuple(Series(f"run {each}", [1.0, 2.0 + each / 1e6]) for each in range(12))
    picture = tree(LineChart("Runs", series)).find("svg")
    ends = [float(each.get("y")) for each in picture.iter("text") if each.text.startswith("run ")][
        :12
    ]
    gaps = [high - low for low, high in itertools.pairwise(sorted(ends))]
    assert len(ends) == 12 and min(gaps) >= 17.9


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
def test_names_keep_the_order_of_the_lines(wanted):
    """They are moved apart, not past each other, and stay inside."""
    places = spread_out(wanted, 0.0, 400.0, 20.0)
    order = sorted(range(len(wanted)), key=lambda each: (wanted[each], each))
    moved = [places[each] for each in order]
    assert all(b - a >= 20 - 1e-9 for a, b in itertools.pairwise(moved))
    assert moved[0] >= -1e-9 and moved[-1] <= 400 + 1e-9


def test_lines_differ_without_colour():
    """Each of the named lines has its own dashes or its own colour, and neighbours both."""
    series = tuple(Series(f"run {each}", [1.0, each]) for each in range(12))
    found = tree(LineChart("Runs", series)).iter("path")
    drawn = [
        (each.get("class"), each.get("stroke-dasharray"))
        for each in found
        if each.get("class").startswith("line s")
    ]
    looks = set(drawn)
    assert len(looks) == 12 and len(drawn) == 24  # each also beside its name
    assert len({dash for _, dash in looks}) == 8


def test_a_band_is_drawn_for_an_interval():
    """One polygon for each stretch without gaps; a lone point has a whisker."""
    series = Series("mean", [1, 2, None, 4], [0.5, 1.5, None, 3], [1.5, 2.5, None, 5])
    chart = LineChart("Mean", (series,))
    assert paths(chart, "band s1")[0].count("Z") == 1
    assert len(paths(chart, "whisker s1")) == 1


def test_a_long_name_is_cut_in_the_picture_and_whole_below_it():
    """And what is written fits into the picture."""
    name = "x" * 200
    chart = LineChart("Two", (Series(name, [1, 2]), Series("b", [2, 1])))
    assert name in "".join(tree(chart).find("ul").itertext())
    for each in tree(chart).find("svg").iter("text"):
        if each.get("text-anchor") is None and each.get("class") is None:
            assert float(each.get("x")) + width(each.text) <= 480


def charts_of(names, values):
    """One chart of each kind with these names and values."""
    count = len(names)
    grid = [
        [values[(row + column) % len(values)] for column in range(count)] for row in range(count)
    ]
    return [
        LineChart(
            names[0],
            [Series(name, values, values, values[::-1]) for name in names],
            x_label=names[-1],
            y_label=names[0],
        ),
        LineChart(names[0], [Series(names[0], values)], x=values, is_log=True, diagonal=True),
        BarChart(
            names[0],
            [
                Bar(name, values[place % len(values)], values[0], values[-1], name)
                for place, name in enumerate(names)
            ],
            names[-1],
        ),
        BarChart(names[0], [Bar(name, values[0]) for name in names], top=values[-1]),
        Heatmap(names[0], names, names, grid, names[0], names[-1]),
        Heatmap(names[0], names, names, grid, by_row=True),
        Scatter(names[0], list(zip(values, values[::-1], strict=True)), names[0], names[-1]),
        Scatter(names[0], list(zip(values, values, strict=True)), diagonal=True),
        Histogram(names[0], [*values, values[0]], values, names[0]),
        Scatter(
            names[0],
            list(zip(values, values, strict=True)),
            names[0],
            diagonal=True,
            x_is_log=True,
            marked=(0, 7),
        ),
        Scatter(
            names[0], [(place, v) for place, v in enumerate(values)], x_names=names, marked=[0]
        ),
        ParallelCoordinates(
            names[0],
            [Axis(names[0]), Axis(names[-1], is_log=True), Axis(names[0], names=names)],
            [Series(names[0], (value, value, place)) for place, value in enumerate(values)],
            (1, 0, 99),
        ),
        LineChart(names[0], [Series(name, values, only_points=True) for name in names]),
    ]


KINDS = 13


@pytest.mark.gate(keep=12)
@pytest.mark.parametrize("place", range(KINDS))
@pytest.mark.parametrize(
    "name",
    [
        HOSTILE,
        "a" * 200,
        "דיוק על נתוני האימות",
        "漢字" * 60,
        "🎉👩‍👩‍👧",
        "",
        " ",
        "\u202eright to left",
    ],
)
def test_any_name_is_shown_as_text(name, place):
    """HTML, control characters, scripts from right to left, nothing at all."""
    tree(charts_of([name, "other"], [1.0, 2.0])[place])
    drawn = str(draw(charts_of([name, "other"], [1.0, 2.0])[place]))
    assert "<script" not in drawn and "<img" not in drawn
    assert "\x00" not in drawn and "\x1b" not in drawn


@pytest.mark.parametrize("place", range(KINDS))
def test_the_same_data_give_the_same_bytes(place):
    """So that a report of the same version is the same file."""
    first, second = (charts_of(["a", "b"], [1.0, None, 2.5])[place] for _ in range(2))
    assert draw(first) == draw(second)


ODD = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-(10**400), 10**400),
    st.sampled_from([0.0, -0.0, 5e-324, 1e308, -1e308, 1e-200, 1.0, 1.0 + 1e-15]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ODD, min_size=1, max_size=12), st.integers(0, KINDS - 1))
@example([8.988465674310462e307, 8.988465674310463e307], 1)
@example([8.988465674311579e307, 8.98846567431158e307], 8)
def test_any_numbers_are_drawn(values, place):
    """NaN, infinity, nothing, the largest and the smallest: always a sound picture."""
    tree(charts_of(["a", "b", "c"], values)[place])


@pytest.mark.parametrize(
    "chart",
    [
        LineChart("t", ()),
        LineChart("t", (Series("a", ()),)),
        BarChart("t", ()),
        Heatmap("t", (), (), ()),
        Heatmap("t", (), (), ((), ())),
        Scatter("t", ()),
        ParallelCoordinates("t", (), ()),
        ParallelCoordinates("t", (Axis("a"),), ()),
        ParallelCoordinates("t", (Axis("a", is_log=True),), (Series("b", (-1.0,)),)),
        Histogram("t", (), ()),
        Histogram("t", (1.0,), ()),
    ],
)
def test_a_chart_without_numbers_says_so(chart):
    """Not an empty frame."""
    found = tree(chart)
    assert found.find("svg") is None
    assert found.findtext("p") == "There are no numbers to draw."


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(1e-9, 1e9), st.integers(2, 9))
@example(7.83916e13, 250000001.0, 2)
def test_ticks_are_round_distinct_and_on_the_axis(low, span, most):
    """Texts that differ, from low to high."""
    scale = scale_of([low, low + span], 0, 100, rounded=True)
    ticks = scale.ticks(most)
    places = [scale.place(value) for value, _ in ticks]
    assert places == sorted(places) and all(0 <= place <= 100 for place in places)
    written = [text for _, text in ticks]
    assert 1 <= len(ticks) <= most + 2 and len(set(written)) == len(written)


def test_ticks_have_separators_and_whole_epochs():
    """1,000 and 20,000; never epoch 1.5."""
    assert "1,000" in texts(line(0, 500, 1_000, 2_000))
    assert {"1", "2", "3"} <= set(texts(line(0.1, 0.2, 0.3)))
    assert "1.5" not in texts(line(0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.78012, "0.7801"),
        (1234.5, "1,234.5"),
        (12_000, "12,000"),
        (1.2346e-7, "1.235×10⁻⁷"),
        (1_234_567.8, "1,234,568"),
        (2e9 + 0.5, "2×10⁹"),
        (-2e-5, "-2×10⁻⁵"),
        (None, "–"),
    ],
)
def test_numbers_are_readable(value, text):
    """Four digits, separators, powers of ten where needed."""
    assert number(value) == text


def test_coordinates_are_short():
    """No exponent, no negative zero."""
    assert [at(value) for value in (1.0, 0.04, -0.04, -0.5, 12.34)] == [
        "1",
        "0",
        "0",
        "-0.5",
        "12.3",
    ]


def test_a_shortened_text_fits():
    """The estimate is what the layout counts with."""
    assert shortened("short", 100) == "short"
    cut = shortened("a long name of a class", 60)
    assert cut.endswith("…") and width(cut) <= 60


@pytest.mark.gate
def test_20_000_points_are_thinned_and_no_peak_is_lost():
    """A bounded picture that says what was left out."""
    values = [math.sin(step / 500) for step in range(20_000)]
    values[12_345] = 50.0
    chart = line(*values)
    drawn = str(draw(chart))
    assert len(drawn) < 80_000
    (path,) = paths(chart, "line s1")
    assert path.count("L") < 1_000
    highest = min(float(each.split()[1]) for each in path[1:].split("L"))
    ordinary = sorted(float(each.split()[1]) for each in path[1:].split("L"))[1]
    assert ordinary - highest > 100  # the one high value is far above the others
    assert "thinned" in tree(chart).findtext("p")
    assert len(cells(chart)) == 201  # with the heading
    assert "200 of 20,000 values" in tree(chart).findtext("details/p")


def test_20_000_points_of_a_plane_are_counted_in_squares():
    """Each square of the grid holds the points in it."""
    points = [(math.cos(each) * each, math.sin(each * 1.3) * each) for each in range(20_000)]
    chart = Scatter("Cloud", points)
    assert len(str(draw(chart))) < 150_000
    assert not paths(chart, "points s1")
    sizes = re.findall(r"h([\d.]+)v", paths(chart, "density")[0])
    assert len(sizes) < 20_000 and set(sizes) == {"1.8", "2.7", "3.5", "4.3", "5.0"}
    assert "20,000 points: each square" in tree(chart).findtext("p")


def test_a_line_of_parallel_coordinates_goes_through_its_value_on_each_axis():
    """The ends of an axis are the lowest and the highest value; the best line is the last drawn."""
    axes = [Axis("rate", is_log=True), Axis("size", names=["32", "64"]), Axis("accuracy")]
    lines = [Series("trial 1", (0.01, 1, 0.9)), Series("trial 2", (0.0001, 0, 0.5))]
    chart = ParallelCoordinates("Settings", axes, lines, [0])
    (best,), (other,) = paths(chart, "line s1 best"), paths(chart, "line s0")
    ends = [re.findall(r"([\d.]+) [\d.]+", each) for each in (best, other)]
    (rate, size, accuracy), (low_rate, low_size, low_accuracy) = (map(float, each) for each in ends)
    assert rate == accuracy == 456 and low_rate == low_accuracy < low_size < size < 456
    assert [each for each in texts(chart) if each in ("rate", "size", "accuracy", "32", "64")] == [
        *("rate", "size", "accuracy"),
        *("32", "64"),
    ]
    assert cells(chart)[1] == ["trial 1", "0.0100", "64", "0.9"]
    assert "trial 1: rate 0.01, size 64, accuracy 0.9." in tree(chart).find("svg").findtext("desc")


def test_a_line_of_parallel_coordinates_skips_an_axis_without_a_value():
    """A trial that was pruned has settings, and no value."""
    chart = ParallelCoordinates(
        "Settings",
        [Axis("a"), Axis("b"), Axis("c")],
        [Series("t", (1, None, 2)), Series("u", (0, 5, 1))],
    )
    skips, whole = paths(chart, "line s0")
    assert skips.count("L") == 1 and whole.count("L") == 2


def test_points_can_stand_on_a_logarithmic_axis_or_on_one_with_names():
    """As the values of a search's trials by one of its settings."""
    chart = Scatter("t", [(0.001, 1), (0.01, 2), (0.1, 3)], x_is_log=True, marked=[2])
    (path,) = paths(chart, "points few s1")
    first, middle, last = sorted(
        float(each.split()[0]) for each in path[1:].removesuffix("h0").split("h0M")
    )
    assert middle - first == pytest.approx(last - middle, abs=0.2)
    (ring,) = (each for each in tree(chart).iter("circle"))
    assert float(ring.get("cx")) == last
    named = Scatter("t", [(0, 1), (1, 2)], x_names=["relu", "gelu"])
    assert {"relu", "gelu"} < set(texts(named)) and cells(named)[2] == ["gelu", "2"]


def test_a_series_of_points_has_no_line():
    """Values that do not follow from each other are not joined."""
    chart = LineChart("t", [Series("a", [1, 2, 3], only_points=True), Series("b", [1, 2, 3])])
    assert not paths(chart, "line s1") and len(paths(chart, "line s2")) == 2  # and in its name


def test_bars_start_at_zero_and_negative_ones_go_left():
    """With a wide enough axis for the intervals."""
    chart = BarChart("Change", (Bar("up", 2.0, 1.0, 3.0), Bar("down", -1.0), Bar("none", None)))
    up, down = (each for each in tree(chart).iter("rect") if each.get("class") == "bar")
    zero = float(up.get("x"))
    assert float(down.get("x")) + float(down.get("width")) == pytest.approx(zero, abs=0.2)
    assert float(up.get("width")) == pytest.approx(2 * float(down.get("width")), abs=0.3)
    assert "–" in texts(chart) and cells(chart)[1] == ["up", "2", "1", "3"]


def test_the_axis_of_counts_has_no_halves():
    """Two examples are at most; there is no half of one."""
    svg = draw(BarChart("Answers", [Bar("good", 2), Bar("bad", 1)], "examples"))
    assert ">2<" in svg
    assert "0.5" not in re.sub(r'="[^"]*"', "", svg)


def test_a_bar_beyond_the_top_ends_there():
    """`top` is the axis's end."""
    chart = BarChart("Recall", (Bar("a", 0.5), Bar("b", 7.0)), top=1.0)
    half, full = (float(each.get("width")) for each in tree(chart).iter("rect"))
    assert full == pytest.approx(2 * half, abs=0.2)


@pytest.mark.parametrize("count", [1, 61, 1_000, 20_000])
def test_many_bars_stay_one_picture(count):
    """Thinner and with fewer names, then evenly taken."""
    chart = BarChart("Recall", tuple(Bar(f"class {each}", each / count) for each in range(count)))
    found = tree(chart)
    assert float(found.find("svg").get("height")) < 1_600 and len(str(draw(chart))) < 200_000
    if count == 20_000:
        assert "1,000 of 20,000 bars" in found.findtext("p")


def test_a_heatmap_shows_each_number_in_its_cell():
    """In the order of the rows; zeros are left blank in a larger one."""
    chart = Heatmap("M", "ab", "ab", ((5, 1), (0, 7)), "true", "predicted")
    assert [text for text in texts(chart) if text.isdigit()][:4] == ["5", "1", "0", "7"]
    assert cells(chart) == [["true / predicted", "a", "b"], ["a", "5", "1"], ["b", "0", "7"]]


def squares(chart) -> dict[str, int]:
    """How many rectangles there are of each colour."""
    found = tree(chart).iter("path")
    return {each.get("class"): each.get("d").count("M") for each in found}


def test_colours_are_shares_of_the_row():
    """A rare class is as visible as a frequent one, and a single mistake is not zero."""
    chart = Heatmap("M", "ab", "ab", ((999, 1), (0, 3)), by_row=True)
    assert squares(chart) == {"h10": 2, "h1": 1, "h0": 1}
    assert squares(Heatmap("M", "ab", "ab", ((999, 1), (0, 3)))) == {"h10": 1, "h1": 2, "h0": 1}


def test_negative_numbers_have_a_colour_of_their_own():
    """Such as those of correlations."""
    assert squares(Heatmap("M", "ab", "ab", ((1, -1), (-0.25, 0)))) == {
        "h10": 1,
        "n10": 1,
        "n5": 1,
        "h0": 1,
    }


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(("count", "labels"), [(1, True), (40, True), (41, False), (1_000, False)])
def test_a_heatmap_of_many_classes_stays_readable(count, labels):
    """Beyond 40 without names; beyond 100 several classes in one square."""
    values = [[0] * count for _ in range(count)]
    for place in range(count):
        values[place][place] = 10
    values[0][count - 1] = 3 if count > 1 else 10
    names = [f"c{place}" for place in range(count)]
    drawn = str(draw(Heatmap("M", names, names, values, by_row=True)))
    assert len(drawn) < 300_000 and (">c0<" in drawn.partition("<details")[0]) == labels
    if count > 100:
        assert "each square is the mean of 10 by 10 cells" in drawn
    if count > 40:
        first = re.search(r"<tbody><tr>(.*?)</tr>", drawn)[1]
        assert re.findall(r"(?:<bdi>|number\">)(\w+)", first) == ["c0", f"c{count - 1}", "3"]


def test_numbers_are_written_only_where_they_fit():
    """A cell that is too narrow keeps its colour alone."""
    names = [f"c{place}" for place in range(30)]
    wide = Heatmap("M", names, names, [[123_456] * 30] * 30)
    assert "123,456" not in texts(wide)[:-3]


def test_a_histogram_has_a_column_for_each_count():
    """Of the height of its count."""
    chart = Histogram("H", (0, 1, 2, 3), (1, 0, 4))
    (path,) = paths(chart, "bar")
    base, *_ = re.findall(r"M[\d.]+ ([\d.]+)", path)
    tops = [float(base) - float(each) for each in re.findall(r"V([\d.]+)H", path)]
    assert tops == pytest.approx([tops[2] / 4, 0, tops[2]], abs=0.2)
    many = Histogram("H", range(20_001), [1] * 20_000)
    assert "100 neighbouring columns of 20,000" in tree(many).findtext("p")
    assert len(str(draw(many))) < 100_000


def test_the_table_is_bounded_and_its_columns_line_up():
    """Decimals are the same within a column."""
    assert [row[1] for row in cells(line(0.5, 0.25, 1))] == ["loss", "0.50", "0.25", "1.00"]
    wide = LineChart("W", tuple(Series(f"s{each}", [1.0] * 500) for each in range(100)))
    found = cells(wide)
    assert len(found[0]) == 60 and len(found) * 60 <= 4_500


def test_a_sparkline_is_small_and_says_its_range():
    """For the cell of a table."""
    found = ElementTree.fromstring(str(sparkline([0.5, None, 0.75, 0.7], HOSTILE)))
    assert found.findtext("title").endswith(
        "from 0.5 at step 1 to 0.7 at step 4; lowest 0.5 at 1, highest 0.75 at 3."
    )
    assert len(str(sparkline([1.0 * each for each in range(20_000)], "loss"))) < 4_000
    assert str(sparkline([None, math.nan], "loss")) == '<span class="sparkline-none">–</span>'


def test_only_charts_are_drawn_here():
    """Texts and tables are drawn elsewhere."""
    assert is_chart(line(1.0)) and not is_chart(Text("a"))


def test_charts_need_neither_numpy_nor_tensorflow():
    """A report is drawn by the standard library and MarkupSafe."""
    code = (
        "import sys; import registry_core.reports.charts; "
        "print(sorted({'numpy', 'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
