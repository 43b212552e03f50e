"""Short fits of a narrow airbench network, which may be stopped and resumed."""

from types import SimpleNamespace

import numpy as np
from resumed_fits import Fits

from cifar_plugin.airbench.config import AirbenchConfig
from registry_core.types import ArraySplit, Assembly, DataSplits

CONFIG = AirbenchConfig(
    widths=(24, 8, 8), batch_size=16, epochs=2, small_epochs=1, small_pixels=20, seed=3
)


class AirbenchFits(Fits):
    """Fits of a narrow network on 48 images, so that an epoch has three equal steps."""

    def __init__(self, training, folder, config=CONFIG):
        super().__init__(training, folder)
        self._config = config

    def _assembly(self, run_dir):
        from cifar_plugin import plugin

        config, random = self._config, np.random.default_rng(0)
        images = random.integers(0, 256, (48, 32, 32, 3), dtype=np.uint8)
        split = ArraySplit(images, np.arange(48) % 10)
        held_out = ArraySplit(images[:20], np.arange(20) % 10)
        data = DataSplits(split, split, held_out, tuple("abcdefghij"))
        schedule = plugin.mlreg_scheduler(config, 3)
        model = plugin.mlreg_model(config, data, schedule)
        phases = plugin.mlreg_phases(config, model) or ()
        augmentation = plugin.mlreg_augmentation(config, data)
        return Assembly(data, model, augmentation, schedule, [], phases)


def config_with(**settings):
    return AirbenchConfig(**{**CONFIG.values(), **settings})


def phases_of(**settings):
    """Name and epochs of each phase; None if there are none."""
    from cifar_plugin import plugin

    model = SimpleNamespace(input_shape=(None, 32, 32, 3))
    phases = plugin.mlreg_phases(AirbenchConfig(**settings), model)
    return phases and [(phase.name, phase.epochs) for phase in phases]
