"""Layers beside PyTorch's, on shapes and options made at random, and in the places where a drop-in is put."""
import copy, pickle, warnings
import numpy as np, pytest, torch, torch.utils.checkpoint
from course_lib import layers
from course_lib.module import Sequential
from hypothesis import assume, given, settings, strategies as st
from torch import nn

few = settings(max_examples=10, deadline=None, derandomize=True, database=None)
size, seed = st.integers(1, 4), st.integers(0, 9)
TOL = {torch.float64: 1e-10, torch.float32: 2e-5} # of the largest number compared; sums of up to some thousand terms

@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings(action="ignore"): yield # PyTorch's: an even kernel with padding 'same' takes a copy

def close(a, b, what=""):
    assert (a.shape, a.dtype) == (b.shape, b.dtype), what
    if not b.numel(): return
    room = max(1., b.detach().abs().max().item())
    assert torch.allclose(a, b, rtol=0, atol=TOL.get(b.dtype, 0)*room, equal_nan=True), (what, (a - b).abs().max())

def pair(name, *args, seed=0, **kw):
    out = []
    for lib in (layers, nn):
        torch.manual_seed(seed)
        out.append(getattr(lib, name)(*args, **kw))
    return out

def agree(name, *args, x, seed=0, dtypes=(torch.float64, torch.float32), **kw):
    ours, theirs = pair(name, *args, seed=seed, **kw)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(v, ours.state_dict()[k]) for k, v in theirs.state_dict().items())
    moved = [{k: v + 1 for k, v in m.state_dict().items()} for m in (theirs, ours)] # weights load both ways
    for m, state in zip((ours, theirs), moved):
        m.load_state_dict(state)
        assert all(torch.equal(v, state[k]) for k, v in m.state_dict().items())
    for dtype in dtypes:
        ours, theirs = ours.to(dtype), theirs.to(dtype)
        for mode in (True, True, False):
            inps = [x.detach().to(dtype).requires_grad_() if x.is_floating_point() else x for _ in range(2)]
            outs = []
            for m, i in zip((ours, theirs), inps):
                torch.manual_seed(seed)
                outs.append(m.train(mode)(i))
            close(*outs, "output")
            g = torch.randn(outs[1].shape).to(dtype)
            found = []
            for m, i, o in zip((ours, theirs), inps, outs):
                leaves = list(m.parameters()) + [i]*i.is_floating_point()
                found.append(torch.autograd.grad(o, leaves, g) if leaves else [])
            for a, b in zip(*found): close(a, b, "gradient")
            for (k, v), w in zip(theirs.state_dict().items(), ours.state_dict().values()): close(w, v, k)

@few
@given(st.lists(st.integers(0, 3), max_size=3), size, size, st.booleans(), seed)
def test_linear(lead, n_in, n_out, bias, seed): agree("Linear", n_in, n_out, bias, x=torch.randn(*lead, n_in), seed=seed)

@few
@given(st.data())
def test_conv2d(data):
    def two(least, most): return data.draw(st.one_of(st.integers(least, most), st.tuples(*[st.integers(least, most)]*2)))
    groups, ks, dilation = data.draw(st.integers(1, 3)), two(1, 3), two(1, 2)
    padding = data.draw(st.sampled_from(["same", "valid", None])) or two(0, 2)
    stride = 1 if padding == "same" else two(1, 3)
    ni, nf, n = groups*data.draw(st.integers(1, 2)), groups*data.draw(st.integers(1, 2)), data.draw(st.integers(0, 3))
    x = torch.randn(n, ni, data.draw(st.integers(5, 8)), data.draw(st.integers(5, 8)))
    agree("Conv2d", ni, nf, ks, stride, padding, dilation, groups, data.draw(st.booleans()), x=x)
    clear = layers.conv2d_unfold(x, w := torch.randn(nf, ni//groups, *(layers._pair(ks, ""))), None, stride, padding, dilation, groups)
    close(clear, nn.functional.conv2d(x, w, None, stride, padding, dilation, groups))

@few
@given(st.data())
def test_pools(data):
    def two(least, most): return data.draw(st.one_of(st.integers(least, most), st.tuples(*[st.integers(least, most)]*2)))
    ks, stride, padding = two(2, 3), data.draw(st.sampled_from([None, 0])) or two(1, 3), two(0, 1)
    x = torch.randint(-3, 3, data.draw(st.sampled_from([(2, 3, 7, 6), (3, 6, 7), (1, 1, 5, 5)]))).float()
    agree("MaxPool2d", ks, stride, padding, two(1, 2), x=x)
    agree("AvgPool2d", ks, stride, padding, False, data.draw(st.booleans()), data.draw(st.sampled_from([None, 3])), x=x)

@few
@given(st.integers(2, 5), size, st.sampled_from([None, 0.1, 1.]), st.booleans(), st.booleans(), st.booleans(), seed)
def test_batch_norms(n, c, momentum, affine, track, bias, seed):
    kw = dict(momentum=momentum, affine=affine, track_running_stats=track, bias=bias, seed=seed, eps=1e-2)
    for name, rest in [("BatchNorm1d", ()), ("BatchNorm1d", (3,)), ("BatchNorm2d", (2, 3))]:
        agree(name, c, x=torch.randn(n, c, *rest)*3 + 1, **kw)

@few
@given(st.lists(size, max_size=2), st.lists(st.integers(2, 4), min_size=1, max_size=2), st.booleans(), st.booleans())
def test_layer_norm(lead, shape, affine, bias):
    agree("LayerNorm", shape, 1e-2, affine, bias, x=torch.randn(*lead, *shape)*3 + 1)

@few
@given(st.lists(st.integers(0, 4), max_size=2), st.integers(2, 5), size, st.integers(-2, 2), seed)
def test_embedding(shape, n, d, padding_idx, seed):
    x = torch.randint(0, n, shape)
    agree("Embedding", n, d, x=x, seed=seed)
    agree("Embedding", n, d, min(padding_idx, n - 1), x=x.int(), seed=seed)

@few
@given(st.lists(st.integers(0, 5), max_size=3), st.floats(0, 1), seed)
def test_elementwise(shape, p, seed):
    x = torch.randn(shape)*3
    for name, args in [("ReLU", ()), ("LeakyReLU", (0.2,)), ("GELU", ()), ("GELU", ("tanh",)), ("Sigmoid", ()), ("Tanh", ()), ("Dropout", (p,)), ("Identity", ())]:
        agree(name, *args, x=x, seed=seed)

def test_slopes_at_zero_and_far_out():
    x = torch.tensor([-1000., -100., -0., 0., 100., 1000.])
    for name, args in [("ReLU", ()), ("LeakyReLU", (0.2,)), ("GELU", ()), ("Sigmoid", ()), ("Tanh", ())]: agree(name, *args, x=x)
    far = x.double().requires_grad_()
    assert torch.autograd.gradgradcheck(layers.Sigmoid(), far)

@pytest.mark.parametrize("name, args", [("ReLU", (True,)), ("LeakyReLU", (0.1, True)), ("Dropout", (0.4, True))])
def test_in_place(name, args):
    x, outs = torch.randn(4, 5), []
    for m in pair(name, *args):
        inp = x.clone().requires_grad_()
        y = inp*2
        torch.manual_seed(0)
        out = m(y)
        assert out is y
        outs.append((out.detach(), torch.autograd.grad(out.sum(), inp)[0]))
        with pytest.raises(RuntimeError): m(inp) # a leaf
    for a, b in zip(*outs): close(a, b)

IMAGES, ROWS = (2, 2, 6, 6), (4, 6)
EVERY = [("Linear", (6, 5), ROWS), ("Conv2d", (2, 3, 3), IMAGES), ("Conv2d", (2, 3, 3, 1, 1, 1, 1, False), (2, 6, 6)), ("MaxPool2d", (2,), IMAGES), ("AvgPool2d", (2,), IMAGES), ("BatchNorm1d", (6,), ROWS),
         ("BatchNorm1d", (6,), (4, 6, 3)), ("BatchNorm2d", (2,), IMAGES), ("LayerNorm", (6,), ROWS), ("LayerNorm", ((2, 6, 6),), IMAGES), ("Embedding", (3, 2), None), ("Embedding", (3, 2, 1), None), ("ReLU", (), ROWS),
         ("LeakyReLU", (), ROWS), ("GELU", (), ROWS), ("GELU", ("tanh",), ROWS), ("Sigmoid", (), ROWS), ("Tanh", (), ROWS), ("Dropout", (0.3,), ROWS), ("Flatten", (), IMAGES), ("Identity", (), ROWS)]
IN_PLACE = {"ReLU": lambda lib: lib.ReLU(True), "LeakyReLU": lambda lib: lib.LeakyReLU(0.1, True), "Dropout": lambda lib: lib.Dropout(0.4, True), "+=": lambda lib: lambda y: y.add_(1),
            "*=": lambda lib: lambda y: y.mul_(2), "a part": lambda lib: lambda y: y[:1].zero_()}

@pytest.mark.parametrize("then", IN_PLACE)
@pytest.mark.parametrize("name, args, shape", EVERY)
def test_in_place_after(name, args, shape, then):
    "What a layer gives may be changed in place where PyTorch's may be; where it needs that number on the way back, both say so."
    x, found = torch.tensor([2, 0, 2]) if shape is None else torch.randn(shape), []
    for lib, m in zip((layers, nn), pair(name, *args)):
        for mode in (True, False):
            inp = x.clone().requires_grad_() if x.is_floating_point() else x
            leaves = list(m.parameters()) + [inp]*inp.requires_grad
            try:
                torch.manual_seed(0)
                y = m.train(mode)(inp*2 if x.is_floating_point() else inp)
                IN_PLACE[then](lib)(y)
                grads = torch.autograd.grad(y.sin().sum(), leaves, allow_unused=True)
                found.append([y, *grads])
            except RuntimeError as e:
                assert "inplace operation" in str(e), e
                found.append([])
    for mine, other in zip(found[:2], found[2:]):
        for a, b in zip(mine, other, strict=True): assert a is None and b is None or torch.allclose(a, b, atol=1e-4), (a, b)

def test_values_that_change_on_the_way():
    "A bias, and running statistics in evaluation, are not needed on the way back."
    for name, args, shape in [("Conv2d", (2, 3, 3), IMAGES), ("BatchNorm1d", (6,), ROWS), ("Linear", (6, 5), ROWS), ("LayerNorm", (6,), ROWS)]:
        m = getattr(layers, name)(*args)
        out = m(torch.randn(shape, requires_grad=True))
        with torch.no_grad(): m.bias.add_(1)
        out.sin().sum().backward()
    found, x = [], torch.randn(4, 6)
    for change in (False, True): # PyTorch's gradients would be those of the changed statistics
        m, inp = layers.BatchNorm1d(6), x.clone().requires_grad_()
        out = m.eval()(inp)
        if change: m.train()(x*3)
        found.append(torch.autograd.grad(out.sin().sum(), [inp, *m.parameters()]))
    for a, b in zip(*found): close(a, b)

def test_every_layer_takes_input_by_name():
    for name, args, shape in EVERY:
        x = torch.tensor([2, 0, 2]) if shape is None else torch.randn(shape)
        outs = []
        for m in pair(name, *args): outs.append((torch.manual_seed(0), m(input=x))[1])
        assert torch.allclose(*outs, atol=1e-5), name
    x, w, b = torch.randn(2, 5, 5), torch.randn(3, 2, 3, 3), torch.randn(3)
    close(layers.conv2d(input=x, weight=w, bias=b), nn.functional.conv2d(input=x, weight=w, bias=b), "one image")
    w = torch.randn(4, 5)
    close(layers.linear(input=x, weight=w), nn.functional.linear(input=x, weight=w))
    close(layers.linear(x, w[0]), nn.functional.linear(x, w[0]))

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    for name, args, shape in [("Linear", (6, 5), (4, 6)), ("Conv2d", (2, 3, 3), (2, 2, 6, 6)), ("BatchNorm2d", (2,), (4, 2, 5, 5)), ("LayerNorm", (6,), (4, 6)), ("GELU", (), (4, 6))]:
        ours, theirs = (m.to(dtype) for m in pair(name, *args))
        x = torch.randn(shape).to(dtype)
        a, b = ours(x), theirs(x)
        assert a.dtype == b.dtype == dtype and torch.allclose(a.float(), b.float(), atol=0.05)

def net(lib):
    torch.manual_seed(0)
    sequential = Sequential if lib is layers else nn.Sequential
    return sequential(lib.Conv2d(1, 4, 3, 2, 1), lib.BatchNorm2d(4), lib.ReLU(), lib.MaxPool2d(2), lib.Flatten(), lib.Dropout(0.3), lib.Linear(16, 5), lib.LayerNorm(5), lib.GELU())

def test_a_whole_network():
    x, ours, theirs = torch.randn(3, 1, 8, 8), net(layers), net(nn)
    assert repr(ours) == repr(theirs)
    for lr in (0.1, 0.01):
        losses = []
        for m in (ours, theirs):
            opt = torch.optim.Adam(m.parameters(), lr=lr)
            torch.manual_seed(1)
            loss = m(x).square().sum()
            loss.backward()
            opt.step()
            opt.zero_grad()
            losses.append(loss.detach())
        assert torch.allclose(*losses, rtol=1e-4)
    other = pickle.loads(pickle.dumps(copy.deepcopy(ours))).eval()
    close(other(x), ours.eval()(x))
    assert theirs.load_state_dict(ours.state_dict()) and ours.load_state_dict(theirs.state_dict())
    assert {k: v._metadata[k] for v in [ours.state_dict()] for k in v._metadata if k} == {k: v._metadata[k] for v in [theirs.state_dict()] for k in v._metadata if k}

def test_autocast():
    x, outs = torch.randn(3, 1, 8, 8), []
    for m in (net(layers), net(nn)):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16): out = m(x)
        out.float().square().sum().backward()
        outs.append((out.float(), [p.grad for p in m.parameters()]))
    assert torch.allclose(outs[0][0], outs[1][0], atol=0.1)
    for a, b in zip(outs[0][1], outs[1][1]): assert a.dtype == b.dtype and torch.allclose(a, b, atol=0.1*max(1, b.abs().max().item()))

@pytest.mark.parametrize("backend", ["eager", "aot_eager"]) # they trace as all do, and need no compiler
def test_compiles_as_one_graph(backend):
    x, results = torch.randn(3, 1, 8, 8), []
    torch._dynamo.reset()
    for compiled in (False, True):
        m, inp, found = net(layers), x.clone().requires_grad_(), []
        f = torch.compile(m, backend=backend, fullgraph=True) if compiled else m
        with warnings.catch_warnings(action="error", category=UserWarning):
            for mode in (True, True, False):
                m.train(mode)
                torch.manual_seed(0)
                out = f(inp)
                found += [out, *torch.autograd.grad(out.sin().sum(), [inp, *m.parameters()])]
        results.append(found + list(m.state_dict().values()))
    for a, b in zip(*results, strict=True): close(a, b)

def test_windows_of_a_view():
    "Whose numbers do not begin where the memory does."
    x = torch.randn(3, 2, 7, 6, dtype=torch.float64, requires_grad=True)
    w = torch.randn(4, 2, 3, 2, dtype=torch.float64)
    found = []
    for conv, pool in [(layers.conv2d, layers.MaxPool2d(2)), (layers.conv2d_unfold, layers.MaxPool2d(2)), (nn.functional.conv2d, nn.MaxPool2d(2))]:
        part = x[1:, :, 1:].mT
        outs = conv(part, w), pool(part)
        found.append([*outs, *torch.autograd.grad(sum(o.sin().sum() for o in outs), x)])
    for ours in found[:2]:
        for a, b in zip(ours, found[2], strict=True): close(a, b)

def test_layer_norm_of_any_layout():
    cases = [(5, torch.randn(5, 4).t()), ((3, 5), torch.randn(5, 3, 2).permute(2, 1, 0)), (5, torch.randn(1, 5).expand(4, 5)), (5, torch.randn(5)), ((2, 3), torch.randn(2, 3)),
             (5, torch.randn(0, 5)), ((3, 5), torch.randn(2, 0, 3, 5)), (0, torch.randn(3, 0)), (64, torch.randn(8, 64) + 10)]
    for shape, x in cases:
        for kw in ({}, dict(bias=False), dict(elementwise_affine=False)):
            found = []
            for m in pair("LayerNorm", shape, **kw):
                inp = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
                out = m(inp)
                found.append([out, *torch.autograd.grad(out.sum(), [inp, *m.parameters()], retain_graph=True), *torch.autograd.grad(out.sin().sum(), [inp, *m.parameters()])])
            assert found[0][0].stride() == found[1][0].stride()
            for a, b in zip(*found, strict=True): assert a.shape == b.shape and torch.allclose(a, b, atol=1e-4)
    for dtype in (torch.bfloat16, torch.float16): # of the input; the weights have 32 bits
        x, (ours, theirs) = torch.randn(4, 5).to(dtype), pair("LayerNorm", 5)
        assert (a := ours(x)).dtype == dtype
        if dtype is torch.bfloat16: assert torch.allclose(a.float(), theirs(x).float(), atol=0.02)

@pytest.mark.parametrize("numba", [True, False])
def test_layer_norm_with_and_without_numba(numba, monkeypatch):
    if not numba: monkeypatch.setattr(layers, "_loops", lambda: None)
    x = torch.randn(7, 33)*3 + 1
    assert ("_LayerNorm" in layers.LayerNorm(33)(x).grad_fn.name()) == numba
    for shape, inp in [(33, x), ((7, 33), x), (33, x[0]), (33, x[:0]), (4, x[:, ::8][:, :4]), (5, x.double()[:, :5]), (3, x.view(7, 11, 3))]: agree("LayerNorm", shape, x=inp)
    for value in (torch.nan, torch.inf):
        inp = x.clone()
        inp[2, 3] = value
        outs = [m(inp) for m in pair("LayerNorm", 33)]
        close(*outs)
        assert outs[0][2].isnan().all() and outs[0].isnan().sum() == 33
    constant = torch.full((2, 4), 5.)
    for eps in (0., 1e-5): close(*[m(constant) for m in pair("LayerNorm", 4, eps)])

def test_numba_missing_or_broken(monkeypatch):
    layers._loops.cache_clear()
    with monkeypatch.context() as m:
        m.setattr(layers, "_compiled", lambda f: (_ for _ in ()).throw(ImportError("no such thing")))
        assert layers._loops() is None and layers.LayerNorm(3)(torch.ones(2, 3)).shape == (2, 3)
    layers._loops.cache_clear()
    assert layers._loops() is not None

def test_parameters_that_are_not_contiguous():
    for g in (torch.randn(2, 3, 5), torch.ones(()).expand(2, 3, 5)):
        found = []
        for m in pair("LayerNorm", (3, 5)):
            torch.manual_seed(0)
            m.weight = nn.Parameter(torch.randn(5, 3).t())
            x = torch.randn(2, 3, 5, requires_grad=True)
            found.append([m(x), *torch.autograd.grad(m(x), [x, m.weight, m.bias], g)])
        for a, b in zip(*found, strict=True): close(a, b)

def test_second_derivatives():
    def double(*shape): return torch.randn(shape, dtype=torch.float64, requires_grad=True)
    conv = [double(2, 2, 4, 5), double(4, 1, 3, 2), double(4)]
    assert torch.autograd.gradgradcheck(lambda *o: layers.conv2d(*o, stride=(1, 2), padding=1, groups=2), conv)
    assert torch.autograd.gradgradcheck(lambda x: layers.conv2d(x, conv[1].detach(), padding="valid", groups=2), conv[:1])
    assert torch.autograd.gradgradcheck(lambda b: layers.conv2d(conv[0].detach(), conv[1].detach(), b, groups=2), conv[2:])
    for f in (layers._BatchNorm, layers._LayerNorm): # each input alone
        three = [double(3, 4), double(4), double(4)]
        for k in range(3):
            def alone(o): return f.apply(*[o if i == k else p.detach() for i, p in enumerate(three)], 1e-5)
            assert torch.autograd.gradgradcheck(lambda o: alone(o)[0] if f is layers._BatchNorm else alone(o), three[k:k + 1])
    for m, x in [(layers.BatchNorm2d(2), double(3, 2, 2, 2)), (layers.LayerNorm(4), double(3, 4))]:
        assert torch.autograd.gradcheck(m.double(), [x]) and torch.autograd.gradgradcheck(m, [x])

@pytest.mark.parametrize("name, args, shape", [("Conv2d", (2, 2, 3, 1, 1), (2, 2, 4, 4)), ("BatchNorm1d", (3,), (4, 3)), ("BatchNorm2d", (2,), (2, 2, 3, 3)), ("LayerNorm", (3,), (2, 3)), ("LayerNorm", ((2, 3),), (4, 2, 3))])
def test_gradients_to_differentiate_end_at_the_inputs(name, args, shape):
    "A layer used twice, and an input that was made from its weights: nothing is counted twice, and hooks are told the truth."
    found, start = [], torch.randn(shape, dtype=torch.float64)
    for m in pair(name, *args):
        m, seen = m.double(), []
        with torch.no_grad(): m.weight += 0.1*torch.arange(m.weight.numel()).view_as(m.weight)
        for again in (False, True):
            x = (start + m.weight.sum()).requires_grad_()
            x.register_hook(seen.append)
            middle = m(x.sin())
            middle.retain_grad()
            m.zero_grad()
            m(middle).pow(3).sum().backward(create_graph=again, inputs=[m.weight, m.bias, middle])
            seen += [m.weight.grad.detach().clone(), m.bias.grad.detach().clone(), middle.grad.detach().clone()]
        found.append(seen)
    assert len(found[0]) == len(found[1]) >= 6
    for a, b in zip(*found): assert torch.allclose(a, b, atol=1e-9)

def test_layer_norm_with_parameters_of_another_shape():
    for shape in [(2,), (8,), (1,), (), (4, 1)]:
        m = layers.LayerNorm(4)
        m.weight = nn.Parameter(torch.ones(shape))
        with pytest.raises(ValueError, match=r"\(4,\), got "): m(torch.ones(2, 4))
    assert layers.LayerNorm(np.int64(4), eps=torch.tensor(0.1))(torch.ones(2, 4)).shape == (2, 4)

def test_layer_norm_sums_in_64_bits():
    for x in (torch.randn(4, 16384).mul(3).exp(), torch.randn(4, 50_000) + 1000, torch.cat([torch.full((4, 1), 1e4), torch.randn(4, 9999)], 1)):
        exact = nn.functional.layer_norm(x.double(), x.shape[1:])
        ours, theirs = ((o(x.shape[1])(x) - exact).square().mean() for o in (layers.LayerNorm, nn.LayerNorm))
        assert ours <= 2*theirs
    for d in (768, 16384): assert not layers.LayerNorm(d, eps=1e-12)(torch.full((2, d), 0.1)).any()

def test_inputs_whose_elements_share_memory():
    scale = torch.tensor([1., 2., 3.]).double()
    base = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    for shape in [(3, 1, 6, 6), (1, 3, 6, 6)]:
        w = torch.randn(2, shape[1], 3, 3, dtype=torch.float64, requires_grad=True)
        for ours, theirs in [(layers.MaxPool2d(2), nn.MaxPool2d(2)), (layers.AvgPool2d(2, 1), nn.AvgPool2d(2, 1)), (lambda x: layers.conv2d(x, w), lambda x: nn.functional.conv2d(x, w)), (lambda x: layers.conv2d_unfold(x, w), lambda x: nn.functional.conv2d(x, w))]:
            found = []
            for f in (ours, theirs):
                x = base.expand(shape).detach().requires_grad_()
                out = f(x)
                out = out*(scale.view(3, 1, 1, 1) if shape[0] == 3 else scale.view(1, 3, 1, 1) if out.shape[1] == 3 else 1)
                found.append([torch.autograd.grad(out.sin().sum(), x, retain_graph=True)[0], torch.autograd.grad(out.sin().sum(), x, create_graph=True)[0]])
            for p, q in zip(*found): close(p, q)

def test_whole_numbers():
    for x in (torch.tensor([0, 1, 2]), torch.tensor([0, 200], dtype=torch.uint8), torch.tensor([True, False])): close(layers.Sigmoid()(x), nn.Sigmoid()(x))
    z = torch.tensor([1 + 2j])
    assert torch.allclose(layers.Sigmoid()(z), nn.Sigmoid()(z))
    with pytest.raises(TypeError, match="int64"): layers.GELU()(torch.tensor([1]))

def test_autocast_leaves_64_bits_and_meta_alone():
    m, x = layers.Conv2d(1, 1, 2).double(), torch.randn(1, 1, 3, 3).double()
    with torch.autocast("cpu", torch.bfloat16): assert m(x).dtype == torch.float64
    assert layers.Conv2d(1, 1, 2, device="meta")(torch.ones(1, 1, 3, 3, device="meta")).shape == (1, 1, 2, 2)

def test_batch_norm_compiles_for_any_size_and_counts_as_often_as_it_tracks():
    torch._dynamo.reset()
    m = layers.BatchNorm1d(2)
    f = torch.compile(m, backend="eager", fullgraph=True, dynamic=True)
    for n in (3, 5): f(torch.randn(n, 2))
    m, x = layers.BatchNorm1d(2), torch.tensor([[1., 2], [3, 6]], requires_grad=True)
    torch.utils.checkpoint.checkpoint(m, x, use_reentrant=False).sum().backward()
    n = m.num_batches_tracked.item()
    assert torch.allclose(m.running_mean, torch.tensor([2., 4.])*(1 - 0.9**n))

def off(found, exact): return ((found.double() - exact).square().mean()/exact.square().mean()).sqrt().item()

def test_batch_norm_is_as_exact_as_pytorchs():
    for shape in [(4, 2, 200, 200), (32, 8, 28, 28), (300, 5)]:
        x, name = torch.randn(shape).relu(), "BatchNorm2d" if len(shape) == 4 else "BatchNorm1d"
        exact = nn.functional.batch_norm(x.double(), None, None, training=True)
        assert off(getattr(layers, name)(shape[1])(x), exact) < 2e-7, shape
    for mean, spread in [(10, 0.1), (1e4, 1)]: # in evaluation
        x, g, found = torch.randn(64, 3)*spread + mean, torch.randn(64, 3), []
        for cls, dtype in (layers.BatchNorm1d, torch.float32), (nn.BatchNorm1d, torch.float32), (nn.BatchNorm1d, torch.float64):
            m = cls(3)
            m.running_mean.fill_(mean), m.running_var.fill_(spread**2)
            m = m.to(dtype).eval()
            out = m(x.to(dtype))
            found.append((out.detach(), *torch.autograd.grad(out, [m.weight, m.bias], g.to(dtype))))
        for ours, theirs, exact in zip(*found): assert off(ours, exact) < max(2e-6, 1.5*off(theirs, exact))

def test_16_bits_are_summed_in_32():
    x = torch.full((1, 1, 32, 32), 100.).half()
    for kw in (dict(divisor_override=1024), {}, dict(padding=1, count_include_pad=False)): assert torch.equal(layers.AvgPool2d(32, **kw)(x), nn.AvgPool2d(32, **kw)(x)), kw
    with pytest.raises(TypeError, match="int64"): layers.AvgPool2d(2)(x.long())
    for dtype in (torch.bfloat16, torch.float16):
        x, w = torch.randn(2, 3, 20, 20), torch.randn(4, 3, 7, 7)
        g = torch.randn(2, 4, 20, 20)
        def slope(conv, dtype):
            inp = x.to(dtype).requires_grad_()
            return torch.autograd.grad(conv(inp, w.to(dtype), padding=3), inp, g.to(dtype))[0]
        exact = slope(nn.functional.conv2d, torch.float64)
        ours, theirs = (off(slope(f, dtype), exact) for f in (layers.conv2d, nn.functional.conv2d))
        assert slope(layers.conv2d, dtype).dtype == dtype and ours < 2.5*theirs
        m = [nn.BatchNorm1d(3), layers.BatchNorm1d(3)]
        with torch.no_grad():
            for o in m: o.running_mean.fill_(0.3), o.running_var.fill_(1.7)
        a, b = (o.to(dtype).eval()(torch.linspace(-2, 2, 30).view(10, 3).to(dtype)) for o in m)
        assert torch.allclose(a.float(), b.float(), atol=0.02)

def test_views_that_are_not_contiguous():
    x = torch.randn(8, 9, 6, 4).permute(3, 2, 0, 1)[:, :, ::2]
    agree("Conv2d", 6, 4, 3, 1, 1, x=x)
    agree("MaxPool2d", 2, x=x)
    agree("BatchNorm2d", 6, x=x)
    agree("LayerNorm", 9, x=x)
    agree("Linear", 9, 5, x=x)
    assert layers.Conv2d(6, 4, 3)(x).is_contiguous()

def test_large_values_and_large_means():
    x = torch.randn(64, 3, 5, 5)
    agree("BatchNorm2d", 3, x=x*1e-3, dtypes=[torch.float64])
    for shift in (1e3, 1e4): # a variance by E[x²] - E[x]² would be nothing but rounding here
        y = layers.BatchNorm2d(3)(x + shift)
        assert (y.mean().abs() < 1e-3) and abs(y.std() - 1) < 1e-2

def test_an_empty_batch_leaves_running_statistics_alone():
    for name, shape in [("BatchNorm1d", (0, 3)), ("BatchNorm1d", (0, 3, 4)), ("BatchNorm2d", (0, 3, 2, 2))]:
        for m in pair(name, 3): # PyTorch's as well
            out = m(torch.zeros(shape, requires_grad=True))
            out.sum().backward()
            assert out.shape == shape and m.running_mean.tolist() == [0]*3 and m.running_var.tolist() == [1]*3

def test_a_layer_without_inputs():
    for name, args in [("Linear", (0, 3)), ("Conv2d", (0, 3, 2))]:
        states = []
        for lib in (layers, nn):
            torch.manual_seed(0)
            states.append([*getattr(lib, name)(*args).state_dict().values(), torch.rand(3)])
        for a, b in zip(*states): assert torch.equal(a, b), name

def test_a_state_without_a_count_of_batches():
    for name in ("BatchNorm1d", "BatchNorm2d"):
        for m in pair(name, 3):
            old = {k: v + 2 for k, v in m.state_dict().items() if k != "num_batches_tracked"}
            m.num_batches_tracked.fill_(5)
            m.load_state_dict(old)
            assert m.num_batches_tracked == 5 and m.running_mean.tolist() == [2]*3
            state = m.state_dict() # of version 2
            del state["num_batches_tracked"]
            with pytest.raises(RuntimeError, match="num_batches_tracked"): m.load_state_dict(state)
    old = {k: v for k, v in net(nn).state_dict().items() if "num_batches" not in k} # of a layer within a network
    for lib in (layers, nn): net(lib).load_state_dict(old)
    for m in pair("BatchNorm1d", 3, track_running_stats=False): m.load_state_dict(dict(m.state_dict()))

def test_max_pool_of_whole_numbers():
    for dtype in (torch.int64, torch.int32, torch.int16, torch.uint8):
        x = torch.randint(-9, 0, (2, 3, 5, 5)).to(dtype)
        for args in ((2,), (3, 2, 1), (2, 1, 1, 2)):
            ours, theirs = pair("MaxPool2d", *args)
            close(ours(x), theirs(x))

def test_numpy_sizes():
    for args in [(1, 2, np.int64(3)), (1, 2, (np.int64(3), 2), np.int64(2), np.int64(1))]: agree("Conv2d", *args, x=torch.randn(2, 1, 6, 6))

BAD = [("Linear", (3, 2), (4, 5), "3"), ("Conv2d", (3, 4, 3), (2, 4, 9, 9), "3"), ("Conv2d", (1, 4, 5), (2, 1, 3, 3), "(3, 3)"), ("Conv2d", (1, 4, 3), (5, 5), "(5, 5)"),
       ("BatchNorm1d", (3,), (4, 5), "3"), ("BatchNorm1d", (3,), (4, 3, 2, 2), "(4, 3, 2, 2)"), ("BatchNorm2d", (3,), (4, 5, 2, 2), "3"), ("BatchNorm2d", (3,), (4, 3), "(4, 3)"),
       ("BatchNorm1d", (3,), (1, 3), "(1, 3)"), ("LayerNorm", (3,), (4, 5), "(4, 5)"), ("LayerNorm", ((2, 3),), (3,), "(3,)"), ("MaxPool2d", (5,), (1, 1, 3, 3), "(5, 5)"), ("AvgPool2d", (2,), (3, 3), "(3, 3)")]

@pytest.mark.parametrize("name, args, shape, said", BAD)
def test_wrong_sizes(name, args, shape, said):
    with pytest.raises(ValueError) as e: getattr(layers, name)(*args)(torch.zeros(shape))
    assert said in str(e.value) and str(shape[1] if len(said) == 1 else "") in str(e.value)

OPTIONS = [("Conv2d", (4, 4, 3), dict(groups=3)), ("Conv2d", (4, 4, 3), dict(groups=0)), ("Conv2d", (4, 4, 3), dict(padding="full")), ("Conv2d", (4, 4, 3, 2), dict(padding="same")),
           ("Conv2d", (4, 4, 3), dict(padding_mode="mirror")), ("Conv2d", (4, 4, (3, 3, 3)), {}), ("Conv2d", (4, 4, 0), {}), ("Dropout", (-0.1,), {}), ("Dropout", (1.1,), {}),
           ("GELU", ("erf",), {}), ("Embedding", (3, 2, 3), {}), ("Embedding", (3, 2), dict(_weight=torch.zeros(2, 3)))]

@pytest.mark.parametrize("name, args, kw", OPTIONS)
def test_options_that_make_no_sense(name, args, kw):
    with pytest.raises(ValueError): getattr(layers, name)(*args, **kw)

def test_what_does_not_fit():
    image, w = torch.ones(1, 2, 3, 3), torch.ones(3, 1, 1, 1)
    with pytest.raises(ValueError, match="into 2 groups, got 3"): layers.conv2d(image, w, groups=2)
    with pytest.raises(ValueError, match=r"a bias \(4,\) for weights .* got \(1,\)"): layers.conv2d(image, torch.ones(4, 2, 1, 1), torch.ones(1))
    for name, x in [("BatchNorm1d", torch.ones(3, 2)), ("BatchNorm2d", image), ("LayerNorm", torch.ones(3, 2))]:
        for dtype in (torch.int64, torch.bool):
            for mode in (True, False):
                with pytest.raises(TypeError, match=str(dtype)): getattr(layers, name)(2).train(mode)(x.to(dtype)) if name != "LayerNorm" else layers.LayerNorm(2)(x.to(dtype))
    for lib in (layers, nn):
        for eps in (0., -1.):
            m = lib.BatchNorm1d(2, eps)
            with pytest.raises(ValueError, match=str(eps)): m(torch.ones(3, 2))
        with pytest.raises(ValueError): m.eval()(torch.ones(3, 2))
        assert lib.BatchNorm1d(2, 0.).eval()(torch.ones(3, 2)).sum() == 6

LACKING = [("Conv2d", (1, 1, 1), dict(padding_mode=o)) for o in ("circular", "reflect", "replicate")] + [("MaxPool2d", (2,), dict(return_indices=True)), ("MaxPool2d", (2,), dict(ceil_mode=True)),
           ("AvgPool2d", (2,), dict(ceil_mode=True)), ("Embedding", (2, 2), dict(max_norm=1.)), ("Embedding", (2, 2), dict(sparse=True)), ("Embedding", (2, 2), dict(scale_grad_by_freq=True))]

@pytest.mark.parametrize("name, args, kw", LACKING)
def test_options_we_lack(name, args, kw):
    with pytest.raises(NotImplementedError, match=next(iter(kw))): getattr(layers, name)(*args, **kw)

def test_what_is_left_out():
    assert not hasattr(layers.Embedding, "from_pretrained")
    for name, args, shape in EVERY:
        if name in ("Sigmoid", "ReLU", "Conv2d", "BatchNorm1d", "BatchNorm2d", "LayerNorm"):
            with pytest.raises(RuntimeError, match="setup_context"): torch.func.grad(lambda x: getattr(layers, name)(*args)(x).sum())(torch.randn(shape))

def test_embedding_indices():
    m = layers.Embedding(3, 2)
    for bad in ([3], [-1], [0, 7]):
        for kind in (ValueError, IndexError):
            with pytest.raises(kind, match="from 0 to 2"): m(torch.tensor(bad))
    with pytest.raises(TypeError, match="float32"): m(torch.tensor([1.]))

def test_every_name_of_the_chapter_takes_device_and_dtype():
    kw = dict(device="meta", dtype=torch.float64)
    for name, args in [("Linear", (3, 2)), ("Conv2d", (1, 2, 3)), ("BatchNorm1d", (3,)), ("BatchNorm2d", (3,)), ("LayerNorm", (3,)), ("Embedding", (3, 2))]:
        ours, theirs = pair(name, *args, **kw)
        for (k, v), w in zip(theirs.state_dict().items(), ours.state_dict().values()): assert (v.shape, v.dtype, v.device) == (w.shape, w.dtype, w.device), k
