"""Gradients by hand on shapes and networks made at random, against PyTorch's autograd and central differences."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from course_lib.backprop import LayerFunction, Lin, Model, Mse, MyRelu, Relu, lin, lin_grad, mse, mse_grad, numeric_grad, relu, relu_grad

often = settings(max_examples=150, deadline=None, derandomize=True)
sizes = st.integers(1, 5)

def random(seed: int, *shape: int, whole: bool = False) -> torch.Tensor:
    "Numbers of a generator of their own; whole ones often meet the corner of ReLU. Every other seed gives a view that is not contiguous."
    r = torch.Generator().manual_seed(seed)
    t = torch.randn(shape[::-1] if seed % 2 else shape, generator=r, dtype=torch.float64)
    t = t.permute(tuple(reversed(range(t.ndim)))) if seed % 2 else t
    return t.round() if whole else t

def by_torch(f, *args):
    leaves = [o.detach().clone().requires_grad_() for o in args]
    f(*leaves).backward()
    return [o.grad for o in leaves]

def close(a, b, tol=1e-10):
    assert a.shape == b.shape and a.dtype == b.dtype
    assert torch.allclose(a, b, rtol=tol, atol=tol)

@often
@given(sizes, sizes, sizes, st.integers(0, 99))
def test_lin(n, n_in, n_out, seed):
    x, w, b, up = (random(seed + i, *o) for i, o in enumerate([(n, n_in), (n_in, n_out), (n_out,), (n, n_out)]))
    out = lin(x, w, b)
    close(out, F.linear(x, w.t(), b))
    out.g = up
    lin_grad(x, out, w, b)
    for t, g in zip((x, w, b), by_torch(lambda x, w, b: (F.linear(x, w.t(), b)*up).sum(), x, w, b)): close(t.g, g)

@often
@given(st.lists(st.integers(0, 4), max_size=3), st.integers(0, 99))
def test_relu(shape, seed):
    x, up = random(seed, *shape, whole=True), random(seed + 1, *shape)
    out = relu(x)
    out.g = up
    relu_grad(x, out)
    close(out, F.relu(x))
    close(x.g, by_torch(lambda o: (F.relu(o)*up).sum(), x)[0])
    close(x.g, by_torch(lambda o: (MyRelu.apply(o)*up).sum(), x)[0])

@often
@given(sizes, st.sampled_from(["column", "vector", "matrix", "whole targets"]), st.integers(0, 99))
def test_mse(n, kind, seed):
    output = random(seed, *{"vector": (n,), "matrix": (n, 3)}.get(kind, (n, 1)))
    targ = random(seed + 1, *{"matrix": (n, 3)}.get(kind, (n,)), whole=kind == "whole targets")
    if kind == "whole targets": targ = targ.long()
    mse_grad(output, targ)
    wanted = by_torch(lambda o: F.mse_loss(o.view(targ.shape) if kind != "matrix" else o, targ.double()), output.contiguous())[0]
    close(output.g, wanted)
    close(output.g, numeric_grad(lambda o: mse(o, targ), output), 1e-7)

class Tanh(LayerFunction):
    def forward(self, inp): return inp.tanh()
    def bwd(self, out, inp): inp.g = out.g*(1 - out**2)

@often
@given(st.lists(sizes, min_size=1, max_size=4), sizes, st.sampled_from([Relu, Tanh]), st.integers(0, 99))
def test_networks_of_any_depth(widths, n, act, seed):
    widths = [*widths, 1]
    params = [(random(seed + i, a, b), random(seed - i, b)) for i, (a, b) in enumerate(zip(widths, widths[1:]))]
    layers = [o for w, b in params for o in (Lin(w, b), act())][:-1]
    model, x, targ = Model(layers, Mse()), random(seed, n, widths[0]), random(seed + 7, n)
    def forward(x, *flat):
        for i in range(0, len(flat), 2): x = F.linear(x, flat[i].t(), flat[i + 1]) if i == 0 else F.linear(act().forward(x), flat[i].t(), flat[i + 1])
        return F.mse_loss(x[:, 0], targ)
    flat = [o for p in params for o in p]
    for _ in range(2): # a second round must not remember the first
        close(model(x, targ), forward(x, *flat))
        model.backward()
        for t, g in zip((x, *flat), by_torch(forward, x, *flat)): close(t.g, g, 1e-8)

@often
@given(st.lists(sizes, min_size=2, max_size=2), st.lists(sizes, min_size=2, max_size=2), st.lists(sizes, min_size=1, max_size=2))
def test_shapes_that_do_not_fit(x, w, b):
    if x[1] == w[0] and b == w[1:]: return
    with pytest.raises(ValueError) as e: lin(torch.zeros(x), torch.zeros(w), torch.zeros(b))
    assert all(str(tuple(o)) in str(e.value) for o in (x, w, b))

@often
@given(st.lists(st.integers(1, 3), max_size=3), st.lists(st.integers(1, 3), max_size=3))
def test_targets_that_do_not_fit(output, targ):
    if output in (targ, [*targ, 1]): return
    for f in (mse, mse_grad):
        with pytest.raises(ValueError) as e: f(torch.zeros(output), torch.zeros(targ))
        assert str(tuple(output)) in str(e.value) and str(tuple(targ)) in str(e.value)

@often
@given(st.lists(st.integers(0, 3), max_size=3), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 99))
def test_numeric_grad(shape, dtype, seed):
    x = random(seed, *shape).to(dtype)
    before = x.clone()
    got = numeric_grad(lambda o: o.mul_(2).sin().sum(), x) # even a function that writes into what it is given
    assert torch.equal(x, before)
    close(got, 2*(2*x).cos(), 1e-8 if dtype == torch.float64 else 1e-3)

def test_a_layer_twice():
    layer = Lin(torch.ones(1, 1), torch.zeros(1))
    with pytest.raises(ValueError, match="same Lin twice"): Model([layer, layer], Mse())

def test_order_of_the_way_back():
    model = Model([Lin(torch.ones(2, 1), torch.zeros(1))], Mse())
    with pytest.raises(RuntimeError): model.backward()
    model(torch.ones(3, 2), torch.zeros(3))
    with pytest.raises(RuntimeError, match="go backwards"): model.layers[0].backward()
    model.layers[0].out.g = torch.ones(3)
    with pytest.raises(ValueError, match=r"\(3, 1\).*\(3,\)"): model.layers[0].backward()

def test_a_call_that_fails_changes_nothing():
    layer, x = Lin(random(0, 2, 1), random(1, 1)), random(2, 3, 2)
    layer(x).g = random(3, 3, 1)
    with pytest.raises(ValueError): layer(random(4, 3, 5))
    layer.backward()
    close(layer.w.g, x.t() @ layer.out.g)

def test_the_way_back_is_not_recorded():
    x, w, b = (random(i, *o).requires_grad_() for i, o in enumerate([(5, 3), (3, 1), (1,)]))
    pre = lin(x, w, b)
    out = relu(pre)
    mse_grad(out, random(5, 5).abs())
    relu_grad(pre, out)
    lin_grad(x, pre, w, b)
    for t in (out, pre, x, w, b): assert not t.g.requires_grad
    first, act = Lin(w, b), Tanh()
    model = Model([first, act], Mse())
    model(x, random(5, 5))
    model.backward()
    for t in (act.out, first.out, x, w, b): assert not t.g.requires_grad

def test_types_that_do_not_fit():
    x, w, b = torch.ones(2, 3), torch.ones(3, 1), torch.ones(1)
    for args in ((x.double(), w, b), (x, w.double(), b), (x, w, b.half())):
        with pytest.raises(TypeError, match="expected x, w and b of one type, got ") as e: lin(*args)
        assert all(str(o.dtype) in str(e.value) for o in args)
    for f in (mse, mse_grad):
        with pytest.raises(TypeError, match="torch.int64"): f(torch.tensor([1, 2]), torch.tensor([1, 2]))
