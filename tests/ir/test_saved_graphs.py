"""Declared graphs: run in parts, saved to files, loaded where the model is not known."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import adjoint as ad
from adjoint import nn, ops
from adjoint.base.errors import ArgumentError
from adjoint.compile.interpreted import Interpreted
from adjoint.tensors.graphs import graph_of_step

RNG = np.random.default_rng(0)


def spec(*shape: int, dtype: Any = ad.float32) -> Any:
    return ad.empty(*shape, dtype=dtype, device="meta")


def bits(tree: Any) -> Any:
    if isinstance(tree, ad.Tensor):
        return tree.detach().numpy().tobytes()
    if isinstance(tree, dict):
        return {k: bits(v) for k, v in tree.items()}
    return type(tree)(map(bits, tree)) if isinstance(tree, (tuple, list)) else tree


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        hidden = ad.label(nn.functional.gelu(self.norm(self.first(x))), "hidden")
        ad.label(hidden.square().mean(), "energy")
        return self.last(hidden)


@pytest.fixture
def net() -> Net:
    ad.manual_seed(0)
    return Net()


@pytest.fixture
def x() -> Any:
    return ad.tensor(RNG.normal(size=(5, 4)).astype(np.float32))


# --- running --------------------------------------------------------------------------------------


@pytest.mark.feature("T27")
def test_a_graph_is_declared_without_data(net: Net, x: Any) -> None:
    graph = ad.record(net, spec(5, 4))
    assert graph.feeds == {"x": (x.shape, x.dtype)}
    assert set(graph.state) == set(net.state_dict())
    np.testing.assert_allclose(graph(x).numpy(), net(x).detach().numpy(), rtol=1e-6, atol=1e-6)
    text = str(graph)
    assert "x0 is feed 'x'" in text
    assert "is state 'norm.weight'" in text
    assert "is 'hidden'" in text


@pytest.mark.feature("T27")
def test_only_ancestors_of_the_fetches_run(
    net: Net, x: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = ad.record(net, spec(5, 4))
    ran: list[str] = []
    for row in ops.TABLE.values():
        monkeypatch.setattr(row, "ref", counting(row.name, row.ref, ran))
    graph.part("hidden")
    assert ran == []
    monkeypatch.setattr("adjoint.compile.program.program_of", Interpreted)
    graph.run("hidden", {"x": x})
    part = graph.part("hidden")
    assert ran.count("dot") == 1
    assert len(ran) <= len(part.nodes) < len(graph.nodes)


def counting(name: str, ref: Callable[..., Any], ran: list[str]) -> Callable[..., Any]:
    def counted(*args: Any, **params: Any) -> Any:
        ran.append(name)
        return ref(*args, **params)

    return counted


@pytest.mark.feature("T27")
def test_fetches_and_feeds_by_name(net: Net, x: Any) -> None:
    graph = ad.record(net, spec(5, 4))
    hidden, rest = graph.run(["hidden", {"e": "energy"}], {"x": x})
    np.testing.assert_allclose(rest["e"].item(), hidden.square().mean().item(), rtol=1e-6)
    out = graph.run("n" + str(len(graph.nodes) - 1), {"x": x})
    assert out.shape in {(5, 3), ()}
    # an inner node that is fed is not computed, and neither is what only it needs
    ones = ad.ones(5, 8)
    assert graph.run("energy", {"hidden": ones}).item() == 1
    assert [n.op.name for n in graph.part("energy", ["hidden"]).nodes if n.op][-1] != "dot"
    # so is a weight
    assert graph.run("energy", {"x": x, "norm.weight": ad.zeros(8), "norm.bias": ad.zeros(8)}) == 0


@pytest.mark.parametrize(
    ("fetches", "feeds", "message"),
    [
        ("hiden", {}, "did you mean 'hidden'"),
        ("energy", {}, "'x' is needed and was not fed"),
        (None, {}, "'x' is needed and was not fed"),
        ("energy", {"x": np.zeros((4, 5), np.float32)}, "another shape"),
        ("energy", {"x": np.zeros((5, 4), np.int64)}, "float32"),
        ("energy", {"z": 1}, "'z' is not known"),
        (3, {}, "not known"),
    ],
)
def test_what_cannot_be_run(net: Net, fetches: Any, feeds: Any, message: str) -> None:
    graph = ad.record(net, spec(5, 4))
    with pytest.raises(ad.AdjointError, match=message):
        graph.run(fetches, feeds)


def test_the_number_of_feeds(net: Net, x: Any) -> None:
    with pytest.raises(ArgumentError, match="takes 1 tensors, 2 were given"):
        ad.record(net, x)(x, x)


def test_results_keep_their_structure(x: Any) -> None:
    def function(x: Any, extra: Any, power: int) -> Any:
        return {"a": (x**power, [extra["e"] + 1, 3]), "none": None, "name": "f"}

    graph = ad.record(function, x, {"e": ad.zeros(2)}, 2)
    assert list(graph.feeds) == ["x", "extra.0"]
    assert bits(graph(x, ad.ones(2))) == bits(function(x, {"e": ad.ones(2)}, 2))


def test_results_that_are_no_tensors_of_a_graph(x: Any) -> None:
    with pytest.raises(ArgumentError, match="a object among the results"):
        ad.record(lambda x: (x, object()), x)


def test_looking_at_a_value_raises(x: Any) -> None:
    with pytest.raises(ad.AdjointError, match="value"):
        ad.record(lambda x: x * 2 if x.sum() > 0 else x, x)


def test_nothing_outside_moves_while_recording(x: Any) -> None:
    norm = nn.BatchNorm1d(4)
    ad.manual_seed(3)
    before, rng = bits(norm.state_dict()), ad.get_rng_state().numpy().tobytes()
    graph = ad.record(lambda x: nn.functional.dropout(norm(x), 0.5), x)
    assert bits(norm.state_dict()) == before
    assert ad.get_rng_state().numpy().tobytes() == rng
    first, second = graph(x), graph(x)
    assert bits(first) != bits(second)  # another mask
    assert graph.state["norm.num_batches_tracked"].item() == 2
    assert bits(norm.state_dict()) == before
    ad.manual_seed(3)
    assert bits(graph(x)) == bits(first)


# --- files ----------------------------------------------------------------------------------------


def through_file(graph: Any, folder: Path) -> Any:
    graph.save(folder / "graph.safetensors")
    return ad.load_graph(folder / "graph.safetensors")


@pytest.mark.feature("T27")
def test_a_saved_graph_is_the_same(net: Net, x: Any, tmp_path: Path) -> None:
    graph = ad.record(net, spec(5, 4))
    loaded = through_file(graph, tmp_path)
    assert bits(loaded(x)) == bits(graph(x))
    assert bits(loaded.run(["hidden", "energy"], {"x": x})) == bits(
        graph.run(["hidden", "energy"], {"x": x})
    )
    assert loaded.feeds == graph.feeds
    assert bits(loaded.state) == bits(graph.state)
    assert loaded.key == through_file(loaded, tmp_path).key


SCRIPT = """
import sys
import numpy as np
import adjoint as ad
assert "model_source" not in sys.modules
graph = ad.load_graph(sys.argv[1])
given = np.load(sys.argv[2])
np.savez(sys.argv[3], out=graph(ad.tensor(given)).numpy(),
         energy=graph.run("energy", {"x": given}).numpy())
"""


@pytest.mark.feature("T27")
def test_another_process_runs_it_without_the_source(net: Net, x: Any, tmp_path: Path) -> None:
    ad.record(net, x).save(tmp_path / "net.safetensors")
    np.save(tmp_path / "x.npy", x.numpy())
    names = [str(tmp_path / n) for n in ("net.safetensors", "x.npy", "out.npz")]
    subprocess.run([sys.executable, "-c", SCRIPT, *names], check=True, cwd=tmp_path)
    found = np.load(names[2])
    np.testing.assert_allclose(found["out"], net(x).detach().numpy(), rtol=1e-6, atol=1e-6)
    assert found["energy"].shape == ()


def programs() -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    ad.manual_seed(0)
    x, index = ad.randn(3, 4), ad.tensor([2, 0])
    yield "loop", lambda x: ad.scan(lambda c, r: (c * r, c + r), x[0], x), (x,)
    yield (
        "loop gradient",
        ad.grad(lambda x: ad.scan(lambda c, r: (c * r.tanh(), c), x[0], x)[0].sum()),
        (x,),
    )
    yield "index", lambda x, i: (x[i], x.at[i].add(1) if hasattr(x, "at") else x), (x, index)
    yield "infinite", lambda x: x.masked_fill(x > 0, -ad.inf).softmax(-1), (x,)
    yield "conv", lambda x: nn.functional.conv1d(x[None], x[:, None, :2], groups=3), (x,)
    yield "integers", lambda x: (x * 100).long() << 2, (x,)
    yield "constant", lambda x: x + ad.tensor(np.arange(4.0, dtype=np.float32)), (x,)
    yield "no input", lambda: ad.arange(3) * 2, ()
    yield "bfloat16", lambda x: (x.bfloat16() @ x.bfloat16().T, x.half().sum()), (x,)
    yield "checkpoint", ad.grad(lambda x: ad.checkpoint(lambda y: y.sin().exp(), x).sum()), (x,)
    yield "sort", lambda x: x.sort(dim=1), (x,)
    yield "attention", lambda x: nn.functional.scaled_dot_product_attention(x, x, x), (x[None],)


@pytest.mark.parametrize("name", [name for name, _, _ in programs()])
def test_every_kind_of_parameter_survives(name: str, tmp_path: Path) -> None:
    ((function, args),) = [(f, a) for n, f, a in programs() if n == name]
    graph = ad.record(function, *args)
    loaded = through_file(graph, tmp_path)
    assert bits(loaded(*args)) == bits(graph(*args))


def test_what_repeats_is_written_once(tmp_path: Path) -> None:
    x = ad.ones(300, 300)
    graph = ad.record(lambda x: x.masked_fill(ad.arange(300)[:, None] < ad.arange(300), 0), x)
    loaded = through_file(graph, tmp_path)
    assert bits(loaded(x)) == bits(graph(x)) == np.tril(np.ones((300, 300), np.float32)).tobytes()
    assert (tmp_path / "graph.safetensors").stat().st_size < 20_000


def test_user_rules_become_what_they_consist_of(x: Any, tmp_path: Path) -> None:
    class Square(ad.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * x

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient

    graph = ad.record(lambda x: Square.apply(x) + 1, x)
    assert bits(through_file(graph, tmp_path)(x)) == bits(graph(x))


@pytest.mark.feature("T27")
def test_a_training_step_in_a_file(x: Any, tmp_path: Path) -> None:
    net, optimiser = nn.Linear(4, 1), None
    optimiser = ad.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any) -> Any:
        optimiser.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimiser.step()
        return loss

    step(x)
    loaded = through_file(ad.record(step, x), tmp_path)
    with pytest.raises(ArgumentError, match="a number that Python computes for every step"):
        loaded(x)
    found = [loaded.run(feeds={**loaded.values, "x": x}).item() for _ in range(4)]
    np.testing.assert_allclose(found, [step(x).item() for _ in range(4)], rtol=1e-5)


@pytest.mark.feature("T27")
def test_the_graph_of_a_captured_step(x: Any, tmp_path: Path) -> None:
    weight = ad.ones(4, 1, requires_grad=True)

    @ad.jit
    def step(x: Any) -> Any:
        weight.grad = None
        loss = (x @ weight).square().mean()
        loss.backward()
        with ad.no_grad():
            weight.sub_(0.1 * weight.grad)
        return loss

    step(x)
    graph = graph_of_step(step._last)
    loaded = through_file(graph, tmp_path)
    expected = [step(x).item() for _ in range(3)]
    np.testing.assert_allclose([loaded(x).item() for _ in range(3)], expected, rtol=1e-6)
    assert list(graph.feeds) == ["argument0"]


def test_a_wrong_suffix(net: Net, x: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="does not end in"):
        ad.record(net, x).save(tmp_path / "graph.pt")


# --- damaged files --------------------------------------------------------------------------------


@pytest.fixture
def saved(net: Net, x: Any, tmp_path: Path) -> Path:
    path = tmp_path / "saved.safetensors"
    ad.record(net, x).save(path)
    return path


def rewritten(path: Path, change: Callable[[Any], Any]) -> Path:
    """The file with its document changed."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    document = json.loads(header["__metadata__"]["adjoint.graph"])
    document = change(document) or document
    save_file(load_file(path), path, {"adjoint.graph": json.dumps(document)})
    return path


def test_a_file_of_weights(tmp_path: Path) -> None:
    ad.save({"w": ad.ones(2)}, tmp_path / "w.safetensors")
    with pytest.raises(ArgumentError, match="holds tensors, but no graph"):
        ad.load_graph(tmp_path / "w.safetensors")


def test_a_file_that_was_cut_off(saved: Path) -> None:
    content = saved.read_bytes()
    for end in (0, 4, 100, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:end])
        with pytest.raises(ArgumentError, match="does not hold a whole graph"):
            ad.load_graph(saved)


def test_unknown_names_are_refused(saved: Path) -> None:
    def op(document: Any) -> None:
        document["nodes"][0]["op"] = "teleport"

    def region(document: Any) -> None:
        calls = [n for n in document["nodes"] if n["op"] == "call"]
        calls[0]["params"]["region"] = {"$region": "os.system"}

    def version(document: Any) -> None:
        document["version"] = 99

    content = saved.read_bytes()
    for change, what in ((op, "'teleport'"), (region, r"'os\.system'"), (version, "version 99")):
        saved.write_bytes(content)
        with pytest.raises(ArgumentError, match=f"needs .*{what}.*not known here"):
            ad.load_graph(rewritten(saved, change))


def mutations(document: Any) -> Iterator[Any]:
    """The document with one entry missing, or something else in its place."""
    places: list[tuple[Any, ...]] = []

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            places.append((*path, key))
            if isinstance(value[key], (dict, list)):
                walk(value[key], (*path, key))

    walk(document, ())
    for path in places[:: max(len(places) // 60, 1)]:
        for wrong in ("missing", -1, 10**6, "nonsense", None, [], {}):
            changed = copy.deepcopy(document)
            at = changed
            for key in path[:-1]:
                at = at[key]
            if wrong == "missing":
                del at[path[-1]]
            else:
                at[path[-1]] = wrong
            yield changed


def test_no_damage_gives_anything_but_a_clear_error(saved: Path, x: Any) -> None:
    content = saved.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    document = json.loads(header["__metadata__"]["adjoint.graph"])
    arrays = load_file(saved)
    refused = 0
    for changed in mutations(document):
        save_file(arrays, saved, {"adjoint.graph": json.dumps(changed)})
        try:
            ad.load_graph(saved)
        except ArgumentError as problem:
            refused += 1
            assert str(saved) in str(problem)
    assert refused > 100


# --- three styles ---------------------------------------------------------------------------------


class HandWritten:
    """Layer style: every layer knows its forward and its backward, as in Caffe."""

    def __init__(self, weights: list[Any]) -> None:
        self.weights = weights

    def run(self, x: Any, y: Any) -> tuple[Any, list[Any]]:
        inputs, h = [], x
        for i, w in enumerate(self.weights):
            inputs.append(h)
            h = h @ w
            h = np.tanh(h) if i < len(self.weights) - 1 else h
        grads: list[Any] = []
        ct = 2 * (h - y) / h.size
        for i in reversed(range(len(self.weights))):
            if i < len(self.weights) - 1:
                ct = ct * (1 - inputs[i + 1] ** 2)
            grads.insert(0, inputs[i].T @ ct)
            ct = ct @ self.weights[i].T
        return ((h - y) ** 2).mean(), grads


@pytest.mark.feature("T33")
def test_three_styles_agree(tmp_path: Path) -> None:
    weights = [RNG.normal(size=s) * 0.5 for s in ((4, 8), (8, 8), (8, 2))]
    x, y = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 2))
    loss, grads = HandWritten(weights).run(x, y)

    tensors = [ad.tensor(w, requires_grad=True) for w in weights]

    def objective(tensors: Any, x: Any, y: Any) -> Any:
        h = x
        for w in tensors[:-1]:
            h = (h @ w).tanh()
        return (h @ tensors[-1] - y).square().mean()

    given = ad.tensor(x), ad.tensor(y)
    imperative = objective(tensors, *given)
    imperative.backward()
    double = dict(dtype=ad.float64)
    declared = ad.record(
        ad.value_and_grad(objective), [spec(*w.shape, **double) for w in weights],
        spec(6, 4, **double), spec(6, 2, **double),
    )  # fmt: skip
    captured = ad.jit(ad.value_and_grad(objective))
    plain = [ad.tensor(w) for w in weights]
    everything = [
        (imperative, [t.grad for t in tensors]),
        declared(*plain, *given),
        through_file(declared, tmp_path)(*plain, *given),
        captured(plain, *given),
    ]
    for found_loss, found in everything:
        assert abs(found_loss.item() - loss) <= 1e-12
        for a, b in zip(found, grads, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=0, atol=1e-12)
