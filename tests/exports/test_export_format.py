"""The format of an export, from the option or from the output's name."""

from pathlib import Path

import pytest
from cli_helpers import fill

from registry_core.cli import run_command
from registry_core.errors import UsageError
from registry_core.exports import FORMATS, choose_format


@pytest.mark.parametrize(
    ("form", "path", "chosen"),
    [
        (None, None, "keras"),
        (None, "model.keras", "keras"),
        (None, "a.b/model.h5", "h5"),
        (None, "MODEL.HDF5", "h5"),
        ("h5", "model.hdf5", "h5"),
        ("keras", "model", "keras"),
        ("h5", "model.bin", "h5"),
        ("savedmodel", "folder", "savedmodel"),
        ("figures", "folder.d", "figures"),
        ("h5", None, "h5"),
        (None, "model.onnx", "onnx"),
        (None, "Model.TFLITE", "litert"),
        ("litert", "model", "litert"),
        ("onnx", None, "onnx"),
    ],
)
def test_the_name_determines_the_format(form, path, chosen):
    """A name without a known extension accepts any format."""
    assert choose_format(form, path and Path(path), "m@1") == chosen


@pytest.mark.parametrize(
    ("form", "name", "right"),
    [
        ("keras", "model.h5", "model.keras"),
        ("h5", "x.keras", "x.h5"),
        ("savedmodel", "x.keras", "x"),
        ("figures", "x.hdf5", "x"),
        ("savedmodel", "x.onnx", "x"),
        ("onnx", "x.tflite", "x.onnx"),
        ("litert", "x.onnx", "x.tflite"),
    ],
)
def test_a_name_that_contradicts_the_format_is_refused_with_both_remedies(form, name, right):
    """Leave out the format, or use another name; the second can be typed."""
    with pytest.raises(UsageError) as caught:
        choose_format(form, Path("out") / name, "m@1")
    assert "Leave out --format" in caught.value.remedy
    assert f"'{right}'" in caught.value.remedy
    assert caught.value.command == f"mlreg export m@1 --format {form} -o out/{right}"


@pytest.mark.parametrize("name", ["folder", "folder/", "model.pth", ".keras"])
def test_a_name_without_a_format_is_refused(name):
    """All formats are named."""
    with pytest.raises(UsageError) as caught:
        choose_format(None, Path(name), "m@1")
    assert all(form in caught.value.remedy for form in FORMATS)


def test_the_command_writes_what_the_name_says_or_nothing(tmp_path, capsys):
    """`.keras` is the registered file; a contradiction is exit status 2 and leaves no file."""
    store = fill(tmp_path / "registry", 0.5)
    around = ["--registry", str(store.folder), "export", "flowers@1"]
    assert run_command([*around, "-o", "here.keras", "--json"]) == 0
    assert '"format": "keras"' in capsys.readouterr().out
    assert Path("here.keras").read_bytes() == b"weights of flowers 0.5"
    assert run_command([*around, "-o", "there.h5", "--format", "keras"]) == 2
    assert "there.h5' would not be a keras export: .h5 is for h5." in capsys.readouterr().err
    assert not Path("there.h5").exists()


def test_a_name_with_an_unknown_extension_gets_a_suggested_file():
    """A folder named x.pth is probably not meant; one named out may be."""
    for typed, meant in (("x.pth", "-o x.keras"), ("out", "-o out --format savedmodel")):
        with pytest.raises(UsageError) as caught:
            choose_format(None, Path(typed), "m@1")
        assert caught.value.command.endswith(meant)
