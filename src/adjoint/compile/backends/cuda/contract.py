"""``dot`` on a GPU: which products have a kernel, and how their operands lie."""

from __future__ import annotations

from math import prod

from adjoint.compile.backends.cuda import multiply_add, tensor_cores
from adjoint.compile.backends.cuda.kernels import Launch, gpu, itemsize
from adjoint.compile.backends.cuda.products import Product, Side
from adjoint.compile.kernel import Place
from adjoint.compile.views import View
from adjoint.ir.node import Node

BUSY = 132  # tiles that keep a device busy; with fewer, smaller ones are cut


def takes_product(node: Node) -> bool:
    """Whether a kernel computes ``node``, whatever the strides of its arguments are."""
    assert node.op is not None and node.args is not None
    if node.op.name != "dot" or node.dtype.kind != "f":
        return False
    return not any(0 in n.shape for n in (node, *node.args))


def product_launch(a: View, b: View, out: Node) -> Launch:
    """``out`` = a @ b batch by batch; a (..., m, k), b (..., k, n), ``out`` a whole buffer."""
    product = product_of(a, b, out)
    kit = tensor_cores if out.dtype.bits == 16 else multiply_add
    recipe = kit.recipe(product, BUSY)
    size = itemsize(out.dtype)
    return Launch(
        name=f"dot {'x'.join(map(str, (*out.shape[:-1], product.k, product.n)))} {out.dtype.name}",
        key=f"cuda dot {recipe.key}",
        write=lambda target: recipe.write(gpu(target)),
        reads=(Place(a.node, a.offset * size), Place(b.node, b.offset * size)),
        writes=(Place(out),),
        flops=2 * prod(product.batch) * product.m * product.n * product.k,
        nbytes=size * (prod(out.shape) + prod(a.shape) + prod(b.shape)),
        nodes=(out,),
        grid=(product.tiles(recipe.rows, recipe.columns), 1, 1),
        threads=recipe.threads,
        shared=recipe.shared,
    )


def product_of(a: View, b: View, out: Node) -> Product:
    """The sizes and strides; a matrix b that is the same for many a is one tall product."""
    batch, m, k, n = out.shape[:-2], a.shape[-2], a.shape[-1], b.shape[-1]
    a_steps, b_steps = a.strides[:-2], b.strides[:-2]
    while batch and b_steps[-1] == 0 and (batch[-1] == 1 or a_steps[-1] == m * a.strides[-2]):
        if m == 1 and batch[-1] > 1:
            break  # the stride of one row says nothing
        m *= batch[-1]
        batch, a_steps, b_steps = batch[:-1], a_steps[:-1], b_steps[:-1]
    left = Side(a.strides[-2], a.strides[-1], a_steps, a.offset)
    right = Side(b.strides[-1], b.strides[-2], b_steps, b.offset)
    return Product(out.dtype, batch, m, n, k, left, right)
