"""The contract is documented argument by argument, and its examples run as they stand."""

import inspect
import re
import subprocess
import sys
import textwrap
import types

import pluggy
import pytest

from registry_core.plugins import hookspecs

SPECS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("mlreg_")}
HEADINGS = ("Args", "Returns", "Raises", "Example")


def section(spec, heading: str) -> str | None:
    """The indented text below a heading of a hookspec's docstring."""
    doc = inspect.getdoc(spec)
    found = re.search(rf"^{heading}:\n((?:[ ]{{4}}.*\n?|\n)+)", doc, re.MULTILINE)
    return textwrap.dedent(found[1]) if found else None


def manager() -> pluggy.PluginManager:
    made = pluggy.PluginManager(hookspecs.PROJECT)
    made.add_hookspecs(hookspecs)
    return made


@pytest.mark.parametrize("name", SPECS)
def test_the_example_can_be_pasted(name):
    """A docstring's example is a module that fits the contract and has the hook."""
    example = section(SPECS[name], "Example")
    assert example
    module = types.ModuleType("pasted")
    sys.modules[module.__name__] = module  # pydantic looks for the module of a class
    try:
        exec(compile(example, f"<example of {name}>", "exec"), vars(module))
    finally:
        del sys.modules[module.__name__]
    plugins = manager()
    plugins.register(module)
    plugins.check_pending()
    assert [caller.name for caller in plugins.get_hookcallers(module)] == [name]


def test_the_examples_without_tensorflow_work(tmp_path, capsys):
    """They are not only compiled but called."""
    plugins = manager()
    for name, spec in SPECS.items():
        module = types.ModuleType(f"pasted_{name}")
        sys.modules[module.__name__] = module
        try:
            exec(section(spec, "Example"), vars(module))
        finally:
            del sys.modules[module.__name__]
        plugins.register(module)
    presets = plugins.hook.mlreg_presets()
    assert list(presets) == ["baseline", "quick"]
    assert presets["quick"].epochs == 2

    version = types.SimpleNamespace(preset="quick", ref="flowers@1")
    (objections,) = plugins.hook.mlreg_check_promotion(
        candidate=version, incumbent=None, alias="production"
    )
    assert [each.check for each in objections] == ["preset"]
    assert plugins.hook.mlreg_check_promotion(
        candidate=version, incumbent=None, alias="staging"
    ) == [[]]

    schedule = plugins.hook.mlreg_scheduler(config=None, steps_per_epoch=1)
    assert (schedule(0), schedule(9), schedule(10)) == (0.001, 0.001, 0.0005)

    result = types.SimpleNamespace(model="flowers", metrics={"test_loss": 0.5})
    ((summary,),) = plugins.hook.mlreg_report(result=result, out_dir=tmp_path)
    assert summary.read_text() == "flowers: {'test_loss': 0.5}"

    result.evaluation = types.SimpleNamespace(losses=[0.25, 4.0, 0.5])
    ((losses,),) = plugins.hook.mlreg_report_sections(result=result)
    assert [bar.value for bar in losses.blocks[1].bars] == [0.5, 0.5, 0.5]

    cache = plugins.hook.mlreg_data(data_dir=None)
    assert cache.fetch(types.SimpleNamespace(say=lambda text: None)) == "generated"
    assert cache.verify()[0].path == "flowers.npz"

    plugins.hook.mlreg_registered(version=version)
    plugins.hook.mlreg_promoted(version=version, alias="production", previous=None)
    said = capsys.readouterr()
    assert said.err == "new: flowers@1\nproduction is flowers@1 and was nothing\n"
    assert said.out == ""  # it belongs to mlreg: tables, references, JSON


def test_the_example_of_a_dataset_reads_what_numpy_wrote(tmp_path):
    """The pasted hook returns splits that training can take."""
    import numpy as np

    from registry_core.data.checks import check_splits

    np.savez(
        tmp_path / "flowers.npz",
        x_train=np.eye(6, 4),
        y_train=np.arange(6) % 3,
        x_test=2 + np.eye(3, 4),
        y_test=np.arange(3),
    )
    module = types.ModuleType("pasted")
    exec(section(SPECS["mlreg_dataset"], "Example"), vars(module))
    plugins = manager()
    plugins.register(module)
    data = plugins.hook.mlreg_dataset(config=None, data_dir=tmp_path, progress=None)
    assert check_splits(data) == []
    assert (len(data.train), len(data.test)) == (6, 3)


@pytest.mark.parametrize("name", SPECS)
def test_every_argument_and_the_value_are_documented(name):
    """A plugin author reads what each argument is, and what is to be returned."""
    spec = SPECS[name]
    signature = inspect.signature(spec)
    documented = re.findall(r"^(\w+):", section(spec, "Args") or "", re.MULTILINE)
    assert documented == list(signature.parameters)
    returns = section(spec, "Returns")
    assert (returns is None) == (signature.return_annotation == "None")
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
    assert signature.return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("name", SPECS)
def test_every_spec_begins_with_one_sentence(name):
    """The first line stands alone in a list of hooks."""
    first, blank, *_ = inspect.getdoc(SPECS[name]).splitlines()
    assert first.endswith(".")
    assert not blank


def test_required_hooks_are_specs_that_say_so():
    """What a dataset plugin must have is a subset of what there is."""
    assert set(hookspecs.REQUIRED) < set(SPECS)
    for name, spec in SPECS.items():
        assert ("Required" in inspect.getdoc(spec)) == (name in hookspecs.REQUIRED)
        if name in hookspecs.REQUIRED:
            assert manager().hook.__getattribute__(name).spec.opts["firstresult"]


def test_which_hooks_collect():
    """Callbacks, reports, objections and notifications collect; the others have one value."""
    collecting = {
        name for name in SPECS if not getattr(manager().hook, name).spec.opts["firstresult"]
    }
    assert collecting == {
        "mlreg_callbacks",
        "mlreg_report",
        "mlreg_report_sections",
        "mlreg_check_promotion",
        "mlreg_registered",
        "mlreg_promoted",
    }


@pytest.mark.parametrize(
    "module", ["registry_core", "registry_core.plugins.hookspecs", "registry_core.types"]
)
def test_the_hookspecs_import_nothing_heavy(module):
    """A plugin's module that imports them loads neither NumPy, TensorFlow nor pydantic."""
    heavy = ("numpy", "tensorflow", "keras", "pydantic", "matplotlib", "rich")
    code = (
        f"import sys, {module}\nfrom registry_core import hookimpl\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
