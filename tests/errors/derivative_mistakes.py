"""Mistakes with gradients and transforms: the table of mistakes.py goes on."""

from __future__ import annotations

from tests.errors.mistakes import Mistake

DERIVATIVES = [
    Mistake(
        "backward_twice", "backward",
        "w = adjoint.ones(3, requires_grad=True)\nloss = (w * w).sum()\nloss.backward()\n"
        "loss.backward()",
        ("retain_graph=True", "sum"),
    ),
    Mistake(
        "backward_of_many", "backward",
        "w = adjoint.ones(3, requires_grad=True)\nloss = w * w\nloss.backward()",
        ("float32[3]", ".sum()"),
    ),
    Mistake(
        "backward_without_graph", "backward",
        "x = adjoint.ones(3)\nloss = (x * x).sum()\nloss.backward()",
        ("float32[]", "requires_grad=True"),
    ),
    Mistake(
        "backward_gradient_shape", "backward",
        "w = adjoint.ones(3, requires_grad=True)\n(w * w).backward(adjoint.ones(2))",
        ("float32[2]", "float32[3]"),
    ),
    Mistake(
        "change_a_leaf", "sub_",
        "w = adjoint.ones(3, requires_grad=True)\nw -= 0.1",
        ("float32[3]", "no_grad"),
    ),
    Mistake(
        "assign_into_a_leaf", "setitem",
        "w = adjoint.ones(3, requires_grad=True)\nw[0] = 0.0",
        ("float32[3]", "no_grad"),
    ),
    Mistake(
        "numpy_of_a_parameter", "numpy",
        "w = adjoint.ones(3, requires_grad=True)\na = w.numpy()",
        ("float32[3]", ".detach()"),
    ),
    Mistake(
        "asarray_of_a_parameter", "numpy",
        "w = adjoint.ones(3, requires_grad=True)\na = np.asarray(w)",
        ("float32[3]", ".detach()"),
    ),
    Mistake(
        "integers_require_grad", "requires_grad_",
        "labels = adjoint.arange(3)\nlabels.requires_grad_()",
        ("int64", ".float()"),
    ),
    Mistake(
        "data_of_other_kind", "data",
        "w = adjoint.ones(3, requires_grad=True)\nw.data = np.zeros(3)",
        ("ndarray",),
    ),
    Mistake(
        "hook_without_gradient", "register_hook",
        "x = adjoint.ones(3)\nx.register_hook(print)",
        ("float32[3]", "requires_grad"),
    ),
    Mistake(
        "grad_of_many", "grad",
        "f = adjoint.grad(lambda x: x * 2)\ng = f(adjoint.ones(3))",
        ("float32[3]",),
    ),
    Mistake(
        "grad_of_integers", "grad",
        "f = adjoint.grad(lambda x: x.sum())\ng = f(adjoint.arange(3))",
        ("int64",),
    ),
    Mistake(
        "branch_in_vmap", "bool",
        "def relu(x):\n    if x > 0:\n        return x\n    return x * 0\n\n"
        "y = adjoint.vmap(relu)(adjoint.ones(3))",
        ("bool[]", "adjoint.where"),
        at=2,
    ),
    Mistake(
        "item_in_vmap", "item",
        "def f(x):\n    return x * x.item()\n\ny = adjoint.vmap(f)(adjoint.ones(3))",
        ("float32[]",),
        at=2,
    ),
    Mistake(
        "numpy_in_vmap", "numpy",
        "def f(x):\n    return x + np.sin(x.numpy())\n\ny = adjoint.vmap(f)(adjoint.ones(3, 2))",
        ("float32[2]",),
        at=2,
    ),
    Mistake(
        "loop_bound_in_vmap", "index",
        "def f(x, n):\n    for _ in range(n):\n        x = x * 2\n    return x\n\n"
        "y = adjoint.vmap(f)(adjoint.ones(3), adjoint.arange(3))",
        ("int64[]",),
        at=2,
    ),
    Mistake(
        "leaked_from_vmap", "add",
        "kept = []\n\ndef f(x):\n    kept.append(x * 2)\n    return x\n\n"
        "y = adjoint.vmap(f)(adjoint.ones(3))\nz = kept[0] + 1",
        ("float32[]", "return it"),
    ),
    Mistake(
        "random_in_vmap", "vmap",
        "def noisy(x):\n    return x + adjoint.randn(3)\n\n"
        "y = adjoint.vmap(noisy)(adjoint.ones(4, 3))",
        ("randomness=",),
        at=2,
    ),
    Mistake(
        "branch_in_jit", "bool",
        "@adjoint.jit\ndef step(x):\n    if x.sum() > 0:\n        return x\n    return -x\n\n"
        "y = step(adjoint.ones(3))",
        ("bool[]", "jit", "argument 0", "adjoint.where"),
        at=3,
    ),
    Mistake(
        "print_in_jit", "item",
        "w = adjoint.ones(3)\n\n@adjoint.jit\ndef step():\n    print((w * w).sum().item())\n\n"
        "step()",
        ("float32[]", "jit", "float32[3] from outside"),
        at=5,
    ),
    Mistake(
        "vmap_sizes", "vmap",
        "f = adjoint.vmap(lambda a, b: a * b)\ny = f(adjoint.ones(3), adjoint.ones(4))",
        ("3", "4"),
    ),
    Mistake(
        "jvp_tangent", "jvp",
        "x = adjoint.ones(3)\ny, t = adjoint.jvp(lambda x: x * x, (x,), (adjoint.ones(2),))",
        ("float32[3]", "float32[2]"),
    ),
]  # fmt: skip
