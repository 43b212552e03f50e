"""The network of the preset airbench94 in PyTorch, trained for a few steps on random images.

An interpreter that has PyTorch runs it. It prints `train 12.3 s` for the steps after the first. The
memory layout is channels last, which is fastest on a CPU, and plain Nesterov momentum replaces
Muon, so this side has less to compute than mlreg's.
"""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional


class Normalization(nn.BatchNorm2d):
    """Batch normalization without a scale."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-12, momentum=0.4)
        self.weight.requires_grad = False


def block(channels: int, filters: int) -> list[nn.Module]:
    """Two convolutions, with pooling after the first."""
    return [
        nn.Conv2d(channels, filters, 3, padding="same", bias=False),
        nn.MaxPool2d(2),
        Normalization(filters),
        nn.GELU(),
        nn.Conv2d(filters, filters, 3, padding="same", bias=False),
        Normalization(filters),
        nn.GELU(),
    ]


def main() -> None:
    """Train, and print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 24, 2), nn.GELU(), *block(24, 64), *block(64, 256), *block(256, 256)]
    head = [nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, 10, bias=False)]
    network = nn.Sequential(*layers, *head).to(memory_format=torch.channels_last)
    network[0].weight.requires_grad = False
    images = torch.randn(options.batch, 3, 32, 32).to(memory_format=torch.channels_last)
    classes = torch.randint(0, 10, (options.batch,))
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=1e-6, momentum=0.85, nesterov=True)

    def step() -> None:
        logits = network(images) / 256
        loss = functional.cross_entropy(logits, classes, label_smoothing=0.2, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    began = time.perf_counter()
    for _ in range(options.steps):
        step()
    print(f"train {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
