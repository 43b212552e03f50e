"""The CIFAR-10 plugin on 120 drawn images, with a few held out."""

from types import SimpleNamespace

from cifar_data_helpers import small_arrays

from cifar_plugin.data.arrays import Arrays
from cifar_plugin.data.splits import split
from cifar_plugin.plugin import *  # noqa: F403
from mlreg import hookimpl


@hookimpl
def mlreg_dataset():
    few = SimpleNamespace(train_examples=None, validation_examples=20, watch_test=False)
    return split(Arrays(**small_arrays(), source="drawn"), few)
