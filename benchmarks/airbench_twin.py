"""The network of the preset airbench94 in PyTorch, trained for a few steps on random images.

An interpreter that has PyTorch runs it. It prints `images/s 2345.6` for each series of steps, and
`train 12.3 s` for all but the first step. The memory layout is channels last, which is fastest on a
CPU, and plain Nesterov momentum replaces Muon, so this side has less to compute than mlreg's.
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
    parser.add_argument("--series", type=int, default=1, help="of so many steps")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--half", action="store_true", help="float16 weights and images")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.device != "cpu":
        torch.set_float32_matmul_precision("high")  # TF32, as in TensorFlow
    dtype = torch.float16 if options.half else torch.float32
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 24, 2), nn.GELU(), *block(24, 64), *block(64, 256), *block(256, 256)]
    head = [nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, 10, bias=False)]
    network = nn.Sequential(*layers, *head).to(
        options.device, dtype, memory_format=torch.channels_last
    )
    network[0].weight.requires_grad = False
    images = torch.randn(options.batch, 3, 32, 32).to(
        options.device, dtype, memory_format=torch.channels_last
    )
    classes = torch.randint(0, 10, (options.batch,)).to(options.device)
    called = torch.compile(network) if options.compile else network
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=1e-6, momentum=0.85, nesterov=True)

    def step() -> None:
        logits = called(images).float() / 256
        loss = functional.cross_entropy(logits, classes, label_smoothing=0.2, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def wait() -> None:
        if options.device != "cpu":
            torch.cuda.synchronize()

    step()
    wait()
    began = time.perf_counter()
    for _ in range(options.series):
        series_began = time.perf_counter()
        for _ in range(options.steps):
            step()
        wait()
        seconds = time.perf_counter() - series_began
        print(f"images/s {options.batch * options.steps / seconds:.1f}", flush=True)
    print(f"train {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
