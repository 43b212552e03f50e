"""The network of the baseline preset in plain PyTorch, without augmentation, to be timed.

    PYTHON benchmarks/torch_side.py cifar10.npz --epochs 2 [--images 16000] [--channels-last]
        [--device cuda] [--compile] [--half]

An interpreter that has PyTorch and NumPy runs it; it does not need mlreg. Like the other sides, it
measures loss and accuracy on the test images after each epoch. It prints `images/s 2345.6` for each
epoch, and `fit 51.9 s`. On a GPU all images are in its memory before the first epoch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

BATCH = 32
EVALUATION_BATCH = 250


def network() -> nn.Sequential:
    """From (n, 3, 32, 32) float32 to ten logits: the same layers, 123,466 numbers in all."""

    def normalised(kind: type[nn.Module], channels: int) -> nn.Module:
        # Keras's epsilon; momentum 0.01 here is 0.99 in Keras
        return kind(channels, eps=1e-3, momentum=0.01)

    return nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        normalised(nn.BatchNorm2d, 32),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        normalised(nn.BatchNorm2d, 64),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        normalised(nn.BatchNorm2d, 64),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 64),
        nn.ReLU(),
        normalised(nn.BatchNorm1d, 64),
        nn.Linear(64, 10),
        nn.Dropout(0.25),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("npz")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--half", action="store_true", help="bfloat16, by torch.autocast")
    options = parser.parse_args()
    if options.device != "cpu":
        torch.set_float32_matmul_precision("high")  # TF32, as in TensorFlow
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    torch.manual_seed(0)
    with np.load(options.npz) as arrays:
        train = _tensors(arrays["x_train"], arrays["y_train"], options.images, layout)
        test = _tensors(arrays["x_test"], arrays["y_test"], None, layout)
    train, test = (tuple(each.to(options.device) for each in split) for split in (train, test))
    model = network().to(options.device, memory_format=layout)
    called = torch.compile(model) if options.compile else model
    precision = torch.autocast(options.device, torch.bfloat16, enabled=options.half)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, eps=1e-7)
    loss_of = nn.CrossEntropyLoss()
    began = time.perf_counter()
    for epoch in range(options.epochs):
        epoch_began = time.perf_counter()
        model.train()
        for places in torch.randperm(len(train[0])).to(options.device).split(BATCH):
            optimizer.zero_grad()
            with precision:
                loss = loss_of(called(train[0][places].float()), train[1][places])
            loss.backward()
            optimizer.step()
        model.eval()
        with precision:
            accuracy, test_loss = _measured(called, loss_of, *test)
        print(f"images/s {len(train[0]) / (time.perf_counter() - epoch_began):.1f}")
        print(f"epoch {epoch + 1}: test accuracy {accuracy:.4f}, loss {test_loss:.4f}", flush=True)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"fit {time.perf_counter() - began:.1f} s")


def _tensors(
    images: np.ndarray, labels: np.ndarray, count: int | None, layout: torch.memory_format
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 3, height, width) uint8 and labels (n,) int64, of the first `count`."""
    pixels = torch.from_numpy(images[:count]).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    return pixels, torch.from_numpy(labels[:count].reshape(-1).astype("int64"))


@torch.no_grad()
def _measured(
    model: Callable[[torch.Tensor], torch.Tensor],
    loss_of: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> tuple[float, float]:
    right, lost = 0, 0.0
    batches = zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True)
    for inputs, expected in batches:
        logits = model(inputs.float())
        right += int((logits.argmax(1) == expected).sum())
        lost += float(loss_of(logits, expected)) * len(expected)
    return right / len(labels), lost / len(labels)


if __name__ == "__main__":
    main()
