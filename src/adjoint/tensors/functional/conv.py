"""Convolutions. The layers are cross-correlations, as everywhere in deep learning: the kernel is
not flipped. ``convolve`` flips it, ``correlate`` does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice
from adjoint.base.shape import Shape, as_size
from adjoint.ir.node import Node
from adjoint.ops.contract import conv_size
from adjoint.ops.movement import flip
from adjoint.tensors.arithmetic import floating, pair
from adjoint.tensors.functional.linear import with_bias
from adjoint.tensors.handle import Handle, node_of, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

Pads = tuple[tuple[int, int], ...]
Sizes = int | tuple[int, ...]


def conv1d(
    input: Handle, weight: Handle, bias: Handle | None = None, stride: Sizes = 1,
    padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation along one axis: (N, C, L) with weight (O, C / groups, K) -> (N, O, L')."""
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Handle, weight: Handle, bias: Handle | None = None, stride: Sizes = 1,
    padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """out[n, o, p] = bias[o] + sum_{c, k} weight[o, c, k] input[n, c, p stride + k dilation].

    (N, C, H, W) with weight (O, C / groups, K1, K2) -> (N, O, H', W'); without N, one image. The
    kernel is not flipped. ``padding``: zeros at both ends, per axis, or ``"valid"`` (none) or
    ``"same"`` (the output as large as the input; needs stride 1). Output size:
    (H + 2 padding - dilation (K - 1) - 1) // stride + 1. Raises ShapeError when sizes do not fit.
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Handle, weight: Handle, bias: Handle | None = None, stride: Sizes = 1,
    padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation along three axes: (N, C, D, H, W) -> (N, O, D', H', W')."""
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Handle, weight: Handle, bias: Handle | None = None, stride: Sizes = 1,
    padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:  # fmt: skip
    """The transpose of ``conv1d``: (N, C, L) with weight (C, O / groups, K) -> (N, O, L')."""
    return _transposed(
        "conv_transpose1d",
        1,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


def conv_transpose2d(
    input: Handle, weight: Handle, bias: Handle | None = None, stride: Sizes = 1,
    padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:  # fmt: skip
    """The transpose of ``conv2d`` with the same weight, stride, padding, dilation and groups.

    (N, C, H, W) with weight (C, O / groups, K1, K2) -> (N, O, H', W') with
    H' = (H - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1: the input spread by
    ``stride`` zeros, then an ordinary convolution.
    """
    return _transposed(
        "conv_transpose2d",
        2,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


def conv_transpose3d(
    input: Handle, weight: Handle, bias: Handle | None = None, stride: Sizes = 1,
    padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:  # fmt: skip
    """The transpose of ``conv3d``: (N, C, D, H, W) -> (N, O, D', H', W')."""
    return _transposed(
        "conv_transpose3d",
        3,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


def convolve(input: Handle, kernel: Handle, mode: str = "full") -> Tensor:
    """The convolution of signal theory: out[p] = sum_k kernel[k] input[p - k], kernel flipped.

    Both have the same rank, 1 to 3. ``"full"``: all places where they overlap; ``"valid"``: where
    the kernel lies inside; ``"same"``: the centre of ``"full"``, as large as the input.
    """
    x, k = _signals("convolve", input, kernel)
    centre = tuple((n - 1) // 2 for n in k.shape)
    return _slide("convolve", x, flip(k, range(k.ndim)), mode, centre)


def correlate(input: Handle, kernel: Handle, mode: str = "full") -> Tensor:
    """The cross-correlation: out[p] = sum_k kernel[k] input[p + k], kernel not flipped.

    Modes as for ``convolve``; the first place of ``"full"`` is where the kernel just touches.
    For an even kernel ``"same"`` begins one place later than there, as SciPy's ``correlate2d``.
    """
    x, k = _signals("correlate", input, kernel)
    return _slide("correlate", x, k, mode, tuple(n // 2 for n in k.shape))


def sizes(op: str, name: str, value: Any, count: int, least: int = 0) -> Shape:
    """``count`` integers from one or from a sequence; raises when they are below ``least``."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    if len(given) == 1:
        given = given * count
    found = tuple(as_size(op, v) for v in given)
    if len(found) != count or any(v < least for v in found):
        one = "" if count == 1 else f", or {count} of them"
        raise errors.argument(
            op,
            f"{name} is an integer from {least}{one}, got {value!r}",
            hint="one integer for all axes, or one for each",
        )
    return found


def batched(op: str, node: Node, count: int) -> tuple[Node, bool]:
    """``node`` with a batch axis, and whether it had none; raises for other ranks."""
    if node.ndim == count + 2:
        return node, False
    if node.ndim == count + 1:
        return ops.reshape(node, shape=(1, *node.shape)), True
    axes = ("L", "H, W", "D, H, W")[count - 1]
    hint = "x.reshape((-1, channels, ...)) merges more axes of batches"
    if node.ndim == count:
        hint = "add the axis of channels: x.unsqueeze(1) for a batch, x.unsqueeze(0) for one image"
    raise errors.shape(op, f"the input is (N, C, {axes}) or (C, {axes})", node, hint=hint)


def unbatched(out: Node, single: bool) -> Tensor:
    return wrap(ops.reshape(out, shape=out.shape[1:]) if single else out)


def _conv(
    op: str, count: int, input: Handle, weight: Handle, bias: Handle | None, stride: Any,
    padding: Any, dilation: Any, groups: int,
) -> Tensor:  # fmt: skip
    x, w = _operands(op, count, input, weight)
    x, single = batched(op, x, count)
    steps = sizes(op, "stride", stride, count, 1)
    spacing = sizes(op, "dilation", dilation, count, 1)
    groups = as_size(op, groups)
    pads = _pads(op, padding, w.shape[2:], steps, spacing)
    if groups < 1 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise _channels(op, x, w, w.shape[1] * groups, w.shape[0], groups)
    for n, k, pad, d in zip(x.shape[2:], w.shape[2:], pads, spacing, strict=True):
        if n + sum(pad) < d * (k - 1) + 1 or k < 1:
            raise errors.shape(
                op, f"a kernel of extent {d * (k - 1) + 1} does not fit into an image of "
                f"{n + sum(pad)} (padding included)", x, w,
                hint="use padding, a smaller kernel, or less pooling before",
            )  # fmt: skip
    out = ops.conv(
        x, w, stride=steps, padding=pads, dilation=spacing, inner=(1,) * count, groups=groups
    )
    if bias is not None:
        out = with_bias(op, out, bias, (w.shape[0], *(1,) * count))
    return unbatched(out, single)


def _transposed(
    op: str, count: int, input: Handle, weight: Handle, bias: Handle | None, stride: Any,
    padding: Any, output_padding: Any, groups: int, dilation: Any,
) -> Tensor:  # fmt: skip
    x, w = _operands(op, count, input, weight)
    x, single = batched(op, x, count)
    steps = sizes(op, "stride", stride, count, 1)
    spacing = sizes(op, "dilation", dilation, count, 1)
    ends = sizes(op, "padding", padding, count)
    extra = sizes(op, "output_padding", output_padding, count)
    groups = as_size(op, groups)
    if groups < 1 or x.shape[1] != w.shape[0] or w.shape[0] % groups:
        raise _channels(op, x, w, w.shape[0], w.shape[1] * groups, groups)
    if any(e >= max(s, d) for e, s, d in zip(extra, steps, spacing, strict=True)):
        raise errors.argument(
            op,
            "output_padding must be smaller than stride or dilation",
            hint="it only chooses among the sizes that the stride leaves",
        )
    i, o = w.shape[0] // groups, w.shape[1]
    kernel = ops.reshape(w, shape=(groups, i, o, *w.shape[2:]))
    kernel = ops.permute(kernel, axes=(0, 2, 1, *range(3, 3 + count)))
    kernel = ops.reshape(kernel, shape=(groups * o, i, *w.shape[2:]))
    kernel = flip(kernel, range(2, 2 + count))
    pads: list[tuple[int, int]] = []
    for k, d, p, e in zip(w.shape[2:], spacing, ends, extra, strict=True):
        pads.append((d * (k - 1) - p, d * (k - 1) - p + e))
    for n, k, s, d, pad in zip(x.shape[2:], w.shape[2:], steps, spacing, pads, strict=True):
        if conv_size(n, k, 1, pad, d, s) < 1:
            raise errors.shape(
                op,
                "the padding leaves nothing of the output",
                x,
                w,
                hint="use a smaller padding or a larger kernel",
            )
    out = ops.conv(
        x, kernel, stride=(1,) * count, padding=tuple(pads), dilation=spacing, inner=steps,
        groups=groups,
    )  # fmt: skip
    if bias is not None:
        out = with_bias(op, out, bias, (groups * o, *(1,) * count))
    return unbatched(out, single)


def _operands(op: str, count: int, input: Handle, weight: Handle) -> tuple[Node, Node]:
    x, w = node_of(input, op), node_of(weight, op)
    if x.dtype is not w.dtype:
        raise errors.mixed_dtypes(op, x, w)
    if w.ndim != count + 2:
        raise errors.shape(
            op,
            f"the weight needs {count + 2} dimensions",
            w,
            hint="(output channels, input channels / groups, *kernel)",
        )
    return x, w


def _pads(op: str, padding: Any, kernel: Shape, steps: Shape, spacing: Shape) -> Pads:
    if not isinstance(padding, str):
        return tuple((p, p) for p in sizes(op, "padding", padding, len(kernel)))
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding != "same":
        raise errors.unknown_name(f"{op} padding", padding, ["valid", "same"])
    if any(s != 1 for s in steps):
        raise errors.argument(
            op, 'padding="same" needs stride 1', hint="for an odd kernel K use padding=K // 2"
        )
    total = [d * (k - 1) for k, d in zip(kernel, spacing, strict=True)]
    return tuple((t // 2, t - t // 2) for t in total)


def _channels(
    op: str, x: Node, w: Node, wanted: int, outs: int, groups: int
) -> errors.AdjointError:
    if groups < 1 or x.shape[1] % groups or outs % groups:
        what = f"{x.shape[1]} input and {outs} output channels do not split into {groups} groups"
        return errors.shape(
            op, what, x, w, hint="the weight is (output channels, input channels / groups, *kernel)"
        )
    hint = f"the layer has to take what comes: in_channels={x.shape[1]}"
    if x.shape[-1] == wanted:
        hint = "channels come before the image: x.movedim(-1, 1)"
    what = f"the input has {x.shape[1]} channels, the weight takes {wanted}"
    return errors.shape(op, what, x, w, hint=hint)


def _signals(op: str, input: Handle, kernel: Handle) -> tuple[Node, Node]:
    x, k = pair(op, input, kernel)
    if x.ndim != k.ndim or not 1 <= x.ndim <= 3:
        raise errors.shape(
            op,
            "input and kernel need the same rank, 1 to 3",
            x,
            k,
            hint="conv1d, conv2d and conv3d take batches and channels",
        )
    if 0 in x.shape or 0 in k.shape:
        raise errors.shape(
            op,
            "an empty signal cannot be convolved",
            x,
            k,
            hint="every axis needs at least one element",
        )
    return (floating(x), floating(k)) if x.dtype.kind == "b" else (x, k)


def _slide(op: str, x: Node, k: Node, mode: str, centre: Shape) -> Tensor:
    """``centre``: where in ``"full"`` the result of ``"same"`` begins."""
    as_choice(f"{op} mode", mode, ["full", "same", "valid"])
    if mode == "full":
        pads = tuple((n - 1, n - 1) for n in k.shape)
    elif mode == "valid":
        pads = ((0, 0),) * k.ndim
        if any(a < b for a, b in zip(x.shape, k.shape, strict=True)):
            raise errors.shape(
                op,
                'mode="valid" needs a kernel inside the input',
                x,
                k,
                hint='use mode="full" or "same", or exchange the two',
            )
    else:
        pads = tuple((n - 1 - c, c) for n, c in zip(k.shape, centre, strict=True))
    ones = (1,) * x.ndim
    out = ops.conv(
        ops.reshape(x, shape=(1, 1, *x.shape)), ops.reshape(k, shape=(1, 1, *k.shape)),
        stride=ones, padding=pads, dilation=ones, inner=ones, groups=1,
    )  # fmt: skip
    return wrap(ops.reshape(out, shape=out.shape[2:]))
