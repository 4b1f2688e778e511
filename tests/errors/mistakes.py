"""What beginners get wrong: a table of snippets, each with what its message has to name."""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """A snippet that fails on its last line (or on line ``at``).

    op: what the message starts with. mentions: words that must be in it (shapes, dtypes, values).
    """

    name: str
    op: str
    code: str
    mentions: tuple[str, ...]
    at: int = 0


SHAPES = [
    Mistake(
        "matmul_inner", "matmul",
        "x = adjoint.ones(32, 128)\nw = adjoint.ones(64, 10)\ny = x @ w",
        ("(32, 128)", "(64, 10)", "128", "64", "float32"),
    ),
    Mistake(
        "matmul_transposed", "matmul",
        "x = adjoint.ones(32, 128)\nw = adjoint.ones(10, 128)\ny = x @ w",
        ("(32, 128)", "(10, 128)", "w.T"),
    ),
    Mistake(
        "matmul_number", "matmul",
        "x = adjoint.ones(2, 2)\ny = x @ 3",
        ("3",),
    ),
    Mistake(
        "add_sizes", "add",
        "a = adjoint.ones(3, 4)\nb = adjoint.ones(5, 4)\nc = a + b",
        ("(3, 4)", "(5, 4)", "3 and 5"),
    ),
    Mistake(
        "add_per_row", "mul",
        "rows = adjoint.ones(32, 10)\nscale = adjoint.ones(32)\nscaled = rows * scale",
        ("(32, 10)", "(32,)", "[:, None]"),
    ),
    Mistake(
        "cat_sizes", "cat",
        "a = adjoint.ones(2, 3)\nb = adjoint.ones(2, 4)\nc = adjoint.cat([a, b])",
        ("float32[2, 3]", "float32[2, 4]", "axis 0"),
    ),
    Mistake(
        "cat_two_arguments", "cat",
        "a = adjoint.ones(2, 3)\nc = adjoint.cat(a, a)",
        ("list",),
    ),
    Mistake(
        "stack_sizes", "stack",
        "a = adjoint.ones(2, 3)\nb = adjoint.ones(2, 4)\nc = adjoint.stack([a, b])",
        ("float32[2, 3]", "float32[2, 4]", "tensor 1"),
    ),
    Mistake(
        "reshape_count", "reshape",
        "x = adjoint.arange(12)\ny = x.reshape(5, 3)",
        ("(12,)", "(5, 3)", "12", "15"),
    ),
    Mistake(
        "reshape_two_unknown", "reshape",
        "x = adjoint.arange(12)\ny = x.reshape(-1, -1)",
        ("(12,)", "(-1, -1)", "one"),
    ),
    Mistake(
        "reshape_does_not_divide", "reshape",
        "x = adjoint.arange(12)\ny = x.view(-1, 5)",
        ("(12,)", "(-1, 5)", "5"),
    ),
    Mistake(
        "permute_missing_axis", "permute",
        "x = adjoint.ones(2, 3, 4)\ny = x.permute(2, 0)",
        ("float32[2, 3, 4]", "3"),
    ),
    Mistake(
        "permute_repeated_axis", "permute",
        "x = adjoint.ones(2, 3, 4)\ny = x.permute(0, 2, 2)",
        ("2",),
    ),
    Mistake(
        "expand_sizes", "expand",
        "x = adjoint.ones(3, 2)\ny = x.expand(3, 4)",
        ("(3, 2)", "(3, 4)"),
    ),
    Mistake(
        "wrong_axis", "sum",
        "x = adjoint.ones(3, 2)\ny = x.sum(dim=2)",
        ("axis 2", "2 axes", "0 to 1", "-2 to -1"),
    ),
    Mistake(
        "axis_name", "sum",
        "x = adjoint.ones(3, 2)\ny = x.sum('rows')",
        ("'rows'",),
    ),
    Mistake(
        "squeeze_axis", "unsqueeze",
        "x = adjoint.ones(3)\ny = x.unsqueeze(3)",
        ("axis 3", "2 axes", "0 to 1"),
    ),
    Mistake(
        "split_sections", "split",
        "x = adjoint.ones(10)\nparts = x.split([3, 3, 3])",
        ("[3, 3, 3]", "9", "10"),
    ),
    Mistake(
        "transpose_vector", "transpose",
        "x = adjoint.ones(3)\ny = x.transpose(0, 1)",
        ("axis 1", "1 axis"),
    ),
    Mistake(
        "einsum_letters", "einsum",
        "a = adjoint.ones(2, 3)\nb = adjoint.ones(4, 5)\nc = adjoint.einsum('ij,jk->ik', a, b)",
        ("'ij,jk->ik'", "j", "3", "4"),
    ),
    Mistake(
        "einsum_operands", "einsum",
        "a = adjoint.ones(2, 3)\nc = adjoint.einsum('ij,jk->ik', a)",
        ("'ij,jk->ik'", "2", "1"),
    ),
    Mistake(
        "maximum_of_nothing", "max",
        "x = adjoint.zeros(0, 3)\ny = x.max()",
        ("float32[0, 3]",),
    ),
    Mistake(
        "iterate_number", "iteration",
        "loss = adjoint.tensor(0.5)\nparts = [p for p in loss]",
        ("float32[]",),
    ),
    Mistake(
        "length_of_number", "len",
        "loss = adjoint.tensor(0.5)\nn = len(loss)",
        ("float32[]",),
    ),
    Mistake(
        "in_place_shape", "add_",
        "x = adjoint.ones(3)\nx += adjoint.ones(2, 3)",
        ("float32[3]", "float32[2, 3]"),
    ),
    Mistake(
        "top_k_too_many", "topk",
        "x = adjoint.ones(3)\nvalues, places = x.topk(5)",
        ("5", "3"),
    ),
    Mistake(
        "solve_not_square", "solve",
        "a = adjoint.ones(2, 3)\nx = adjoint.linalg.solve(a, adjoint.ones(2))",
        ("float32[2, 3]", "square"),
    ),
]  # fmt: skip

DATA = [
    Mistake(
        "ragged_list", "tensor",
        "x = adjoint.tensor([[1, 2, 3], [4, 5]])",
        ("row 0", "length 3", "row 1", "length 2"),
    ),
    Mistake(
        "object_array", "tensor",
        "a = np.array([1, 'two', None], dtype=object)\nx = adjoint.tensor(a)",
        ("object",),
    ),
    Mistake(
        "strings", "tensor",
        "labels = ['cat', 'dog']\nx = adjoint.tensor(labels)",
        ("'cat'",),
    ),
    Mistake(
        "none", "tensor",
        "mask = None\nx = adjoint.tensor(mask)",
        ("None",),
    ),
    Mistake(
        "none_in_a_list", "tensor",
        "x = adjoint.tensor([1.0, None])",
        ("None",),
    ),
    Mistake(
        "add_none", "add",
        "x = adjoint.ones(2)\ny = x + None",
        ("None",),
    ),
    Mistake(
        "add_list", "add",
        "x = adjoint.ones(2)\ny = x + [1.0, 2.0]",
        ("[1.0, 2.0]", "adjoint.tensor"),
    ),
    Mistake(
        "complex_array", "tensor",
        "x = adjoint.tensor(np.ones(3) * 1j)",
        ("complex128",),
    ),
    Mistake(
        "negative_size", "zeros",
        "n = 3\nx = adjoint.zeros(n - 5, 4)",
        ("(-2, 4)",),
    ),
    Mistake(
        "float_size", "zeros",
        "n = 10\nx = adjoint.zeros(n / 2, 3)",
        ("5.0", "//"),
    ),
    Mistake(
        "nan_size", "ones",
        "x = adjoint.ones(float('nan'))",
        ("nan",),
    ),
    Mistake(
        "huge_shape", "zeros",
        "x = adjoint.zeros(10**6, 10**9)",
        ("(1000000, 1000000000)", "PiB"),
    ),
    Mistake(
        "dtype_name", "dtype",
        "x = adjoint.zeros(3, dtype='flaot32')",
        ("'flaot32'", "'float32'"),
    ),
    Mistake(
        "dtype_complex", "dtype",
        "x = adjoint.zeros(3, dtype=complex)",
        ("complex", "float32"),
    ),
    Mistake(
        "device_name", "device",
        "x = adjoint.zeros(3, device='cuda')",
        ("'cuda'", "cpu"),
    ),
    Mistake(
        "device_misspelt", "device",
        "x = adjoint.ones(3).to(device='cpuu')",
        ("'cpuu'", "'cpu'"),
    ),
    Mistake(
        "float_times_double", "matmul",
        "x = adjoint.ones(2, 3)\nw = adjoint.tensor(np.ones((3, 4)))\ny = x @ w",
        ("float32[2, 3]", "float64[3, 4]"),
    ),
    Mistake(
        "uint64_plus_int64", "add",
        "a = adjoint.ones(2, dtype='uint64')\nb = adjoint.ones(2, dtype='int64')\nc = a + b",
        ("uint64", "int64"),
    ),
    Mistake(
        "number_too_large", "add",
        "pixels = adjoint.zeros(4, dtype=adjoint.uint8)\nbright = pixels + 300",
        ("300", "uint8"),
    ),
    Mistake(
        "tensor_too_large", "tensor",
        "x = adjoint.tensor([2**70])",
        ("1180591620717411303424", "int64"),
    ),
    Mistake(
        "integer_division_by_zero", "floor_divide",
        "a = adjoint.arange(4)\nb = a // 0",
        ("zero", ".float()"),
    ),
    Mistake(
        "mean_of_integers", "mean",
        "labels = adjoint.arange(10)\naverage = labels.mean()",
        ("int64", ".float()"),
    ),
    Mistake(
        "invert_float", "bitwise_not",
        "mask = adjoint.ones(3)\nother = ~mask",
        ("float32",),
    ),
    Mistake(
        "subtract_bools", "sub",
        "a = adjoint.tensor([True, False])\nb = a - a",
        ("bool", "^"),
    ),
    Mistake(
        "where_condition", "where",
        "x = adjoint.ones(3)\ny = adjoint.where(x, 1.0, 0.0)",
        ("float32", "!= 0"),
    ),
    Mistake(
        "range_without_end", "arange",
        "x = adjoint.arange(0, 10, 0)",
        ("step", "0"),
    ),
    Mistake(
        "random_integer_dtype", "rand",
        "x = adjoint.rand(3, dtype=adjoint.int64)",
        ("int64", "randint"),
    ),
    Mistake(
        "random_without_size", "randint",
        "x = adjoint.randint(10)",
        ("size", "randint(0, 10, (3,))"),
    ),
    Mistake(
        "probability", "bernoulli",
        "p = adjoint.tensor([0.5, 1.5])\nx = adjoint.bernoulli(p)",
        ("1.5", "[0, 1]"),
    ),
    Mistake(
        "key_is_a_seed", "normal",
        "x = adjoint.random.normal(0, (2, 3))",
        ("int", "adjoint.random.key(0)"),
    ),
    Mistake(
        "pickled", "pickle",
        "import pickle\nx = adjoint.ones(3)\nblob = pickle.dumps(x)",
        ("safetensors",),
    ),
]  # fmt: skip

INDEXING = [
    Mistake(
        "index_out_of_range", "indexing",
        "x = adjoint.ones(3, 4)\ny = x[3]",
        ("3", "axis 0", "float32[3, 4]", "-3 to 2"),
    ),
    Mistake(
        "index_float", "indexing",
        "x = adjoint.ones(10)\nmiddle = x[len(x) / 2]",
        ("5.0", "float"),
    ),
    Mistake(
        "index_float_tensor", "indexing",
        "x = adjoint.ones(10)\nplaces = adjoint.tensor([0.0, 2.0])\ny = x[places]",
        ("float32", ".long()"),
    ),
    Mistake(
        "index_string", "indexing",
        "x = adjoint.ones(10)\ny = x['weight']",
        ("'weight'",),
    ),
    Mistake(
        "too_many_indices", "indexing",
        "x = adjoint.ones(3, 4)\ny = x[0, 0, 0]",
        ("3 indices", "float32[3, 4]"),
    ),
    Mistake(
        "index_tensor_out_of_range", "indexing",
        "embedding = adjoint.ones(5, 8)\ntokens = adjoint.tensor([1, 5])\ny = embedding[tokens]",
        ("5", "axis 0", "-5 to 4"),
    ),
    Mistake(
        "mask_shape", "indexing",
        "x = adjoint.ones(3, 4)\nmask = adjoint.ones(4) > 0\ny = x[mask]",
        ("(4,)", "(3,)"),
    ),
    Mistake(
        "index_arrays_do_not_fit", "indexing",
        "x = adjoint.ones(3, 4)\ny = x[[0, 1], [0, 1, 2]]",
        ("(2,)", "(3,)"),
    ),
    Mistake(
        "assign_shape", "setitem",
        "x = adjoint.ones(3, 4)\nx[0] = adjoint.ones(3)",
        ("float32[3]", "(4,)"),
    ),
    Mistake(
        "assign_float_to_integers", "setitem",
        "x = adjoint.zeros(3, dtype=adjoint.int64)\nx[0] = 0.5",
        ("float32", "int64"),
    ),
    Mistake(
        "slice_of_floats", "indexing",
        "x = adjoint.ones(10)\nhalf = x[: len(x) / 2]",
        ("5.0",),
    ),
    Mistake(
        "select_out_of_range", "select",
        "x = adjoint.ones(3, 4)\ny = x.select(1, 4)",
        ("4", "axis 1"),
    ),
    Mistake(
        "item_of_many", "item",
        "losses = adjoint.ones(3)\nprinted = losses.item()",
        ("float32[3]", ".mean()"),
    ),
    Mistake(
        "float_of_many", "float",
        "losses = adjoint.ones(3)\nprinted = float(losses)",
        ("float32[3]",),
    ),
    Mistake(
        "truth_of_many", "bool",
        "x = adjoint.ones(3)\nif x > 0:\n    print('positive')",
        ("bool[3]", ".all()"),
        at=2,
    ),
]  # fmt: skip
