"""Bills of materials: valid by the reference library's schema, and the same every time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import TABLE_PLUGIN
from lifecycle_helpers import Project, with_one_version

from registry_core.registry import Registry
from registry_core.settings import Settings

pytestmark = pytest.mark.drawn


def problems(text: str) -> object:
    """What CycloneDX's own library finds; None if it is valid."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A project with one version, to be read."""
    return with_one_version(tmp_path_factory.mktemp("one"))


@pytest.fixture
def version(one):
    return one.store.versions("flowers")[0]


def bom_of(project: Project, reference: str = "flowers@1"):
    return Registry(project.store.folder, Settings()).bom(reference)


@pytest.mark.gate
def test_a_bill_of_materials_is_valid_and_names_what_the_version_is_made_of(one, version):
    made = bom_of(one)
    assert problems(made.text) is None
    content = json.loads(made.text)
    model = content["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == (
        "machine-learning-model", "flowers", "1",
    )  # fmt: skip
    assert {part["name"]: part["hashes"][0]["content"] for part in model["components"]} == {
        file.path: file.sha256 for file in version.files
    }
    card = model["modelCard"]
    assert card["modelParameters"]["task"] == "classification"
    accuracy, loss = sorted(
        card["quantitativeAnalysis"]["performanceMetrics"], key=lambda each: each["type"]
    )
    assert float(accuracy["value"]) == version.metrics["test_accuracy"]
    interval = accuracy["confidenceInterval"]
    assert float(interval["lowerBound"]) == pytest.approx(0.5520, abs=1e-4)
    assert float(interval["upperBound"]) == pytest.approx(0.9530, abs=1e-4)
    assert loss["type"] == "loss"
    kinds = {part["type"] for part in content["components"]}
    assert kinds == {"data", "library"}
    references = {part["bom-ref"] for part in content["components"]}
    assert {each["ref"] for each in card["modelParameters"]["datasets"]} <= references
    assert set(content["dependencies"][0]["dependsOn"]) == references


def test_every_library_of_the_record_has_its_package_url(one, version):
    libraries = one.manifest(version)["environment"]["libraries"]
    components = json.loads(bom_of(one).text)["components"]
    urls = {part["name"]: part["purl"] for part in components if "purl" in part}
    assert urls.keys() == libraries.keys()
    assert urls["numpy"] == f"pkg:pypi/numpy@{libraries['numpy']}"


@pytest.mark.gate
def test_it_is_the_same_whenever_it_is_written(tmp_path):
    """A promotion or a tag does not change it; another version has another serial number."""
    project = Project(tmp_path)
    project.run()
    first = bom_of(project).text
    registry = Registry(project.store.folder, Settings())
    registry.promote("flowers@1", "production")
    registry.tag("flowers@1", {"reviewed": "yes"})
    assert bom_of(project).text == first
    project.run()
    serials = {json.loads(bom_of(project, f"flowers@{n}").text)["serialNumber"] for n in (1, 2)}
    assert len(serials) == 2


@pytest.mark.gate
def test_odd_names_and_what_is_not_recorded_stay_valid(tmp_path):
    """Texts that a plugin gives, a stream's own fingerprint, an imported model."""
    names = '("a|b", "<i>", "naïve \\\\u2028 \\\\x07")'
    plugin = TABLE_PLUGIN.replace('("setosa", "versicolor", "virginica")', names)
    project = Project(tmp_path, plugin.replace('source="drawn"', 'source="a \\"b\\" \\\\n c"'))
    project.run()
    project.import_model()
    assert problems(bom_of(project).text) is None
    imported = bom_of(project, "flowers@2")
    assert problems(imported.text) is None
    parameters = imported.content["metadata"]["component"]["modelCard"]["modelParameters"]
    assert "approach" not in parameters


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("reference", ["points@1", "points@3", "sketch@1"])
def test_versions_of_an_earlier_mlreg_have_one_too(tmp_path, reference):
    import tarfile

    archive = Path(__file__).parents[1] / "compatibility" / "registry-2026-11.tar.gz"
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    registry = Registry(tmp_path / "registry", Settings())
    assert problems(registry.bom(reference).text) is None
    assert "not recorded" in registry.card(reference).text
