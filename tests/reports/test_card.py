"""Model cards: what is recorded is there, and nothing else is."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
import yaml
from fakes import TABLE_PLUGIN
from lifecycle_helpers import Project, hook, with_one_version

from registry_core.cli import run_command
from registry_core.lifecycle.seeds import plan_group
from registry_core.lifecycle.spec import spec_from_preset
from registry_core.registry import Registry
from registry_core.reports.card import render_card
from registry_core.reports.sources import read_version
from registry_core.rules import PromotionRule
from registry_core.settings import Settings

pytestmark = pytest.mark.drawn


def registry_of(project: Project) -> Registry:
    return Registry(project.store.folder, Settings())


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A project with one version, to be read."""
    return with_one_version(tmp_path_factory.mktemp("one"))


def sections(card: str) -> dict[str, str]:
    """Heading -> its text, without the metadata."""
    body = card.split("---\n", 2)[2]
    parts = re.split(r"^#+ (.*)$", body, flags=re.MULTILINE)
    return {title: text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def rows(text: str) -> dict[str, list[str]]:
    """First cell -> the others, of the tables in a section."""
    found = [line.strip("| ").split(" | ") for line in text.split("\n") if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in found}


def test_a_card_has_what_the_manifest_has(one):
    """Metrics with their intervals, splits with their fingerprints, settings, files."""
    (version,) = one.store.versions("flowers")
    manifest = one.manifest(version)
    card = sections(registry_of(one).card("flowers@1").text)
    metrics = rows(card["Metrics"])
    assert metrics["test_accuracy"] == ["0.8333", "0.5520 to 0.9530"]  # Wilson's, 10 of 12
    assert metrics["test_loss"][0] == "0.5417"
    data = rows(card["Data"])
    assert data["test"] == ["12", manifest["data"]["splits"]["test"]["fingerprint"]]
    assert data["classes"] == ["setosa, versicolor, virginica"]
    assert data["source"] == ["drawn"]
    assert rows(card["Settings"])["learning_rate"] == ["0.1"]
    files = rows(card["Record"])
    assert {file.path: [file.sha256] for file in version.files} == {
        file.path: files[file.path][1:] for file in version.files
    }
    assert rows(card["By class"])["setosa"][::2] == ["4", "0.4385 to 1.0000", "0.3006 to 0.9544"]
    assert 'load("flowers@1")' in card["How to load it"]


def test_what_is_not_recorded_is_said_to_be_not_recorded(one):
    card = registry_of(one).card("flowers@1").text
    found = sections(card)
    assert found["Intended use"] == found["Not intended for"] == "Not recorded."
    assert rows(found["flowers@1"])["license"] == ["not recorded"]
    assert rows(found["Training"])["git commit"] == ["not recorded"]
    assert found["Promotions"] == "None."
    assert "license" not in card.split("---")[1]
    assert "One run with one seed" in found["Limits"]


def test_epochs_that_are_not_recorded_are_not_none_at_all(one):
    """A manifest that lacks their times, as a fixture or another program may write it."""
    (version,) = one.store.versions("flowers")
    source = read_version(one.store, version)
    manifest = {k: v for k, v in source.manifest.items() if k not in ("epoch_seconds", "training")}
    card = render_card(replace(source, manifest=manifest))
    assert rows(sections(card)["Training"])["epochs"] == ["not recorded"]


def test_tags_add_what_only_a_person_knows(one, tmp_path):
    """As text: neither markup nor metadata comes out of one."""
    shutil.copytree(one.store.folder, tmp_path / "registry")
    registry = Registry(tmp_path / "registry", Settings())
    tags = {
        "card.intended-use": "To sort <b>flowers</b>\n# by hand",
        "card.license": 'x"\ntags: none',
    }
    registry.tag("flowers@1", tags)
    card = registry.card("flowers@1").text
    assert sections(card)["Intended use"] == "To sort \\<b\\>flowers\\</b\\>\\\\n# by hand"
    assert 'license: "x\\"\\ntags: none"\n' in card


def test_the_metadata_is_what_the_hub_reads(one):
    metadata = yaml.safe_load(registry_of(one).card("flowers@1").text.split("---\n")[1])
    assert metadata["library_name"] == "keras"
    assert metadata["tags"] == ["keras", "mlreg", "classification"]
    (entry,) = metadata["model-index"]
    (result,) = entry["results"]
    assert result["task"] == {"type": "classification"}
    assert result["dataset"]["name"] == "flowers"
    assert {each["type"]: each["value"] for each in result["metrics"]} == {
        "accuracy": pytest.approx(10 / 12),
        "loss": pytest.approx(6.5 / 12),
    }


@pytest.mark.gate
def test_the_limits_that_the_record_knows_are_listed(tmp_path):
    """Validation on the test split, promotions that used it, a resumed run."""
    project = Project(
        tmp_path,
        TABLE_PLUGIN.replace("split(30), split(12), split(6),", "split(30), *[split(12)] * 2,"),
    )
    project.resume(project.stopped())
    project.run()
    registry = registry_of(project)
    rule = {"production": PromotionRule(versus_incumbent="not-worse", margin=0.9)}
    registry = Registry(project.store.folder, Settings(promotion=rule))
    for number in (1, 2):
        registry.promote(f"flowers@{number}", "production", reason="a *better* one")
    card = sections(registry.card("flowers@2").text)
    assert "validation split is the test split itself" in card["Limits"]
    assert "compared versions on this test split once" in card["Limits"]
    assert "validation (the test split itself)" in rows(card["Data"])
    (promoted,) = [row for row in rows(card["Promotions"]).values() if row[0] == "production"]
    assert promoted == ["production", "promoted", "a \\*better\\* one"]
    first = sections(registry.card("flowers@1").text)
    assert rows(first["Training"])["resumed"] == ["1 time"]


def test_a_regression_has_errors_in_its_unit_and_no_classes(tmp_path):
    dataset = """
    import numpy as np
    from mlreg import ArraySplit, DataSplits, Regression

    def split(examples, seed):
        inputs = np.random.default_rng(seed).normal(0, 1, (examples, 4)).astype("float32")
        return ArraySplit(inputs, 30 + 5 * inputs[:, :1])

    return DataSplits(split(40, 1), split(30, 2), task=Regression(["age"], "years"))"""
    project = Project(tmp_path, TABLE_PLUGIN + hook("mlreg_dataset", dataset.strip()))
    version = project.run()
    card = sections(registry_of(project).card(version).text)
    errors = rows(card["Errors of age"])
    mean = version.metrics["test_mae"]
    assert errors["mean absolute error"] == [f"{mean:.2f} years"]
    assert errors["mean error (predicted minus true)"] == [f"-{mean:.2f} years"]
    assert rows(card[version.ref])["task"] == ["regression of age"]
    assert "By class" not in card
    assert "classes" not in rows(card["Data"])


@pytest.mark.gate
def test_an_imported_model_has_no_invented_training(tmp_path):
    project = Project(tmp_path)
    version = project.import_model()
    card = sections(registry_of(project).card(version).text)
    assert card["Training"].startswith("Not recorded: the model was imported.")
    assert "how it was trained, and on what, is not known" in card["Limits"]


@pytest.mark.gate
def test_a_group_has_its_mean_and_deviation(tmp_path):
    project = Project(tmp_path)
    for spec in plan_group(spec_from_preset(project.plugins), 2):
        project.run(spec=spec)
    card = sections(registry_of(project).card("flowers@1").text)
    assert "Mean and standard deviation of flowers@1" in card["Metrics"]
    assert "0.8333 ± " in card["Metrics"]
    assert "One run with one seed" not in card["Limits"]


def test_a_card_goes_to_the_terminal_or_to_a_file_that_is_new(one, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    around = ["--registry", str(one.store.folder)]
    assert run_command([*around, "card", "flowers@1"]) == 0
    shown = capsys.readouterr().out
    for document in ("card", "bom"):
        assert run_command([*around, document, "flowers@1", "-o", "-"]) == 0
    assert capsys.readouterr().out.startswith(shown)
    assert run_command([*around, "card", "flowers@1", "-o", "README.md"]) == 0
    assert (tmp_path / "README.md").read_text() == shown
    assert run_command([*around, "card", "flowers@1", "-o", "README.md"]) == 2
    assert "README.md already exists" in capsys.readouterr().err
    assert run_command([*around, "card", "flowers@1", "-o", "README.md", "--overwrite"]) == 0
