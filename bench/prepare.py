"""The weights that every library starts from, and how many operations a step needs.

``python -m bench.prepare WORKLOAD FILE [--small]`` writes ``FILE`` (npz) and prints the counts. The
weights are PyTorch's own initialisation; PyTorch counts the multiply-adds.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from bench import libraries
from bench.kits import kit_of
from bench.workloads import WORKLOADS, Workload


def weights(workload: Workload, small: bool, seed: int = 0) -> tuple[Any, dict[str, np.ndarray]]:
    """A PyTorch network, and a copy of its weights and buffers by name."""
    import torch

    torch.manual_seed(seed)
    net = workload.network(kit_of(libraries.TORCH), small, agreeing=True)
    for layer in net.modules():
        if isinstance(layer, torch.nn.Embedding):  # the default, 1, saturates the softmax
            torch.nn.init.normal_(layer.weight, std=0.05)
    return net, {name: value.numpy().copy() for name, value in net.state_dict().items()}


def counts(workload: Workload, net: Any, small: bool) -> dict[str, float]:
    """Operations of a training step and of a forward pass, and the number of parameters.

    A multiply-add is two operations. Only products and convolutions are counted.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    arrays = {name: torch.tensor(value) for name, value in workload.arrays(small).items()}
    target = arrays.pop("target")
    found: dict[str, float] = {}
    # the counter does not see inside oneDNN's recurrent layers, nor into fused attention
    with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
        backward = {torch.ops.aten.convolution_backward: conv_backward}
        with FlopCounterMode(display=False, custom_mapping=backward) as counter:
            loss = getattr(torch.nn.functional, workload.loss)(net(*arrays.values()), target)
            loss.backward()
        found["train"] = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(*arrays.values())
        found["infer"] = counter.get_total_flops()
    found["parameters"] = sum(p.numel() for p in net.parameters())
    return found


def conv_backward(
    ct: Any, x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, mask: list[bool], out_shape: Any = None,
) -> int:  # fmt: skip
    """Operations of a convolution's gradients, of shapes. PyTorch's own count forgets groups."""
    places = np.prod(x if transposed else ct)
    return int(2 * places * np.prod(w[1:]) * sum(mask[:2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("file")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    workload = WORKLOADS[options.workload]
    net, arrays = weights(workload, options.small)
    np.savez(options.file, allow_pickle=False, **arrays)
    print(json.dumps(counts(workload, net, options.small)))


if __name__ == "__main__":
    main()
