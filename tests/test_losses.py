"""Losses on random cases, and on edges, against torch.nn.functional: values, gradients, element types and errors."""
import copy, math, pickle
import pytest, torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from course_lib import losses as L

often = settings(max_examples=120, deadline=None, derandomize=True)
reductions = st.sampled_from(["mean", "sum", "none"])
seeds = st.integers(0, 2**31)

def values(f, x, *args, **kw):
    "What `f` gives, and the gradient by `x` of the sum of its squares."
    x = x.detach().clone().requires_grad_()
    out = f(x, *args, **kw)
    out.square().sum().backward()
    return out.detach(), x.grad

def alike(ours, theirs, x, *args, tol=1e-9, **kw):
    for a, b in zip(values(ours, x, *args, **kw), values(theirs, x, *args, **kw)):
        torch.testing.assert_close(a, b, rtol=tol, atol=tol, equal_nan=True)

def scores(shape, scale, seed): return scale*torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
scales = st.sampled_from([0., 1., 30., 1000.])

@often
@given(shapes, scales, seeds, st.data())
def test_softmax_and_its_logarithm(shape, scale, seed, data):
    x, dim = scores(shape, scale, seed), data.draw(st.integers(-len(shape), len(shape) - 1))
    alike(L.softmax, F.softmax, x, dim)
    alike(L.log_softmax, F.log_softmax, x, dim)
    dims = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)).copy()
    alike(L.logsumexp, torch.logsumexp, x, tuple(dims), keepdim=data.draw(st.booleans()))

@st.composite
def classified(draw):
    "Scores with one to four axes, classes, some of them ignored, weights, and the options of a loss."
    batch = draw(st.lists(st.integers(0, 4), max_size=3))
    c = draw(st.integers(1, 5))
    shape = (batch[0], c, *batch[1:]) if batch else (c,)
    seed = draw(seeds)
    g = torch.Generator().manual_seed(seed)
    target = torch.randint(0, c, batch, generator=g)
    ignore = draw(st.sampled_from([-100, -1, 0]))
    if ignore < 0: target = target.masked_fill(torch.rand(batch, generator=g) < draw(st.sampled_from([0., 0.3, 1.])), ignore)
    weight = torch.rand(c, generator=g, dtype=torch.float64) if draw(st.booleans()) else None
    return scores(shape, draw(scales), seed), target, dict(weight=weight, ignore_index=ignore, reduction=draw(reductions))

@often
@given(classified(), st.sampled_from([0., 0., 0.1, 1.]))
def test_classes(case, smoothing):
    x, target, kw = case
    alike(L.cross_entropy, F.cross_entropy, x, target, label_smoothing=smoothing, **kw)
    alike(L.nll_loss, F.nll_loss, x, target, **kw)
    ours, theirs = L.CrossEntropyLoss(label_smoothing=smoothing, **kw), torch.nn.CrossEntropyLoss(label_smoothing=smoothing, **kw)
    alike(ours, theirs, x, target)
    alike(L.NLLLoss(**kw), torch.nn.NLLLoss(**kw), x, target)

@often
@given(classified(), st.sampled_from([0., 0.1]))
def test_probabilities_as_targets(case, smoothing):
    x, _, kw = case
    kw["ignore_index"] = -100
    target = scores(x.shape, 1., 0).softmax(min(x.ndim, 2) - 1)
    alike(L.cross_entropy, F.cross_entropy, x, target, label_smoothing=smoothing, **kw)
    alike(lambda t: L.cross_entropy(x, t, **kw), lambda t: F.cross_entropy(x, t, **kw), target)

@often
@given(shapes, scales, seeds, reductions, st.booleans(), st.booleans())
def test_yes_or_no_and_squares(shape, scale, seed, reduction, weighted, positive):
    x, t = scores(shape, scale, seed), scores(shape, 1., seed + 1).sigmoid()
    w = scores(shape, 1., seed + 2).abs() if weighted else None
    p = scores(shape[-1:], 1., seed + 3).abs() if positive else None
    alike(L.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits, x, t, w, reduction=reduction, pos_weight=p)
    alike(L.BCEWithLogitsLoss(w, pos_weight=p, reduction=reduction), torch.nn.BCEWithLogitsLoss(w, pos_weight=p, reduction=reduction), x, t)
    alike(L.mse_loss, F.mse_loss, x, t, reduction=reduction, weight=w)
    alike(L.MSELoss(reduction=reduction), torch.nn.MSELoss(reduction=reduction), x, t)

@often
@given(shapes, seeds)
def test_accuracy(shape, seed):
    preds = scores(shape, 1., seed)
    targ = torch.randint(0, shape[-1], shape[:-1], generator=torch.Generator().manual_seed(seed))
    assert L.accuracy(preds, targ).item() == pytest.approx((preds.argmax(-1) == targ).double().mean().item(), abs=1e-6)
    for wrong in (targ[..., None], targ[None]):
        with pytest.raises(ValueError, match="not broadcast"): L.accuracy(preds, wrong)

# Edges

@pytest.mark.parametrize("name", ["softmax", "log_softmax", "nll_loss", "cross_entropy", "mse_loss", "binary_cross_entropy_with_logits"])
def test_signatures_are_pytorchs(name):
    import inspect
    ours, theirs = (inspect.signature(getattr(o, name)).parameters for o in (L, F))
    assert [(k, o.default) for k, o in ours.items()] == [(k, o.default) for k, o in theirs.items()]

@pytest.mark.parametrize("name", ["NLLLoss", "CrossEntropyLoss", "MSELoss", "BCEWithLogitsLoss"])
def test_modules_are_pytorchs(name):
    import inspect
    ours, theirs = getattr(L, name), getattr(torch.nn, name)
    assert [(k, o.default) for k, o in inspect.signature(ours).parameters.items()] == [(k, o.default) for k, o in inspect.signature(theirs).parameters.items()]
    assert repr(ours()) == repr(theirs()) and list(ours().state_dict()) == list(theirs().state_dict()) == []
    with pytest.raises(ValueError, match="'average'"): ours(reduction="average")
    with pytest.raises(NotImplementedError, match="reduction="): ours(reduce=False)

def test_modules_travel():
    loss, (x, t) = L.CrossEntropyLoss(torch.tensor([1., 2., 3.])), (torch.randn(4, 3), torch.tensor([0, 1, 2, 1]))
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))): assert torch.equal(other(x, t), loss(x, t))
    assert loss.double().weight.dtype == torch.float64 and loss(x.double(), t).dtype == torch.float64

@pytest.mark.parametrize("x", [[-math.inf, 1.], [-math.inf, -math.inf], [math.inf, 1.], [math.nan, 1.], [-math.inf, math.inf]])
def test_infinities(x):
    x, t = torch.tensor([x], dtype=torch.float64), torch.tensor([1])
    alike(L.softmax, F.softmax, x, 1)
    alike(L.log_softmax, F.log_softmax, x, 1)
    alike(L.logsumexp, torch.logsumexp, x, 1)
    torch.testing.assert_close(L.cross_entropy(x, t), F.cross_entropy(x, t), equal_nan=True)

@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (2, 0, 3)])
def test_nothing(shape):
    x = torch.zeros(shape)
    for dim in range(-len(shape), len(shape)):
        for ours, theirs in ((L.softmax, F.softmax), (L.log_softmax, F.log_softmax), (L.logsumexp, torch.logsumexp)):
            torch.testing.assert_close(ours(x, dim), theirs(x, dim))

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    x, t = (20*torch.randn(50, 7)).to(dtype), torch.randint(0, 7, (50,))
    for f, args in ((L.softmax, (1,)), (L.log_softmax, (1,)), (L.logsumexp, (1,)), (L.cross_entropy, (t,)), (L.mse_loss, (x.flip(0),)),
                    (L.binary_cross_entropy_with_logits, (x.float().sigmoid().to(dtype),))):
        got, want = f(x, *args), f(x.double(), *args)
        assert got.dtype == dtype
        torch.testing.assert_close(got, want.to(dtype), atol=1e-3, rtol=2*torch.finfo(dtype).eps)
    alike(L.cross_entropy, F.cross_entropy, x, t, tol=10*torch.finfo(dtype).eps)

def test_autocast():
    x, t = torch.randn(5, 3).bfloat16(), torch.tensor([0, 1, 2, 1, 0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for ours, theirs in ((L.cross_entropy(x, t), F.cross_entropy(x, t)), (L.mse_loss(x, x.flip(0)), F.mse_loss(x, x.flip(0))),
                             (L.nll_loss(x, t), F.nll_loss(x, t)), (L.binary_cross_entropy_with_logits(x, x.sigmoid()), F.binary_cross_entropy_with_logits(x, x.sigmoid()))):
            assert ours.dtype == theirs.dtype == torch.float32
            torch.testing.assert_close(ours, theirs)

@pytest.mark.parametrize("loss", [L.CrossEntropyLoss(), L.CrossEntropyLoss(torch.ones(3), label_smoothing=0.1), L.NLLLoss(), L.BCEWithLogitsLoss(), L.BCEWithLogitsLoss(torch.ones(3), pos_weight=torch.ones(3)), L.MSELoss()])
def test_compiles(loss):
    "Traced whole, forward and backward; what the tracer writes is run by PyTorch as it stands."
    x, t = torch.randn(5, 3), torch.rand(5, 3) if isinstance(loss, (L.BCEWithLogitsLoss, L.MSELoss)) else torch.tensor([0, 1, 2, 1, 0])
    alike(torch.compile(loss, backend="aot_eager", fullgraph=True), loss, x, t, tol=1e-6)

def test_gradients_of_gradients():
    x, t, w = torch.randn(4, 3).double().requires_grad_(), torch.tensor([0, 1, -100, 2]), torch.rand(3).double()
    for kw in ({}, dict(weight=w), dict(label_smoothing=0.2), dict(reduction="sum")):
        assert torch.autograd.gradgradcheck(lambda o: L.cross_entropy(o, t, **kw), x)
        (a,), (b,) = [torch.autograd.grad(f(x, t, **kw), x, create_graph=True) for f in (L.cross_entropy, F.cross_entropy)]
        torch.testing.assert_close(torch.autograd.grad(a.square().sum(), x), torch.autograd.grad(b.square().sum(), x))
    yes = torch.rand(4, 3).double()
    assert torch.autograd.gradgradcheck(lambda o: L.binary_cross_entropy_with_logits(o, yes), x*torch.tensor([0., 1., 1.]).double())
    loss = L.cross_entropy(x, t)
    a, = torch.autograd.grad(loss, x, retain_graph=True)
    b, = torch.autograd.grad(loss, x)
    assert torch.equal(a, b), "a second walk back finds what the first has left"

def test_what_a_short_function_cannot():
    "The chapter names both limits; where one has gone, so should its sentence."
    t = torch.tensor([0, 1, 2, 1])
    for f, y in ((L.cross_entropy, t), (L.binary_cross_entropy_with_logits, torch.rand(4, 3))):
        with pytest.raises(RuntimeError, match="setup_context"): torch.func.grad(f)(torch.randn(4, 3), y)
    x = torch.randn(4, 3, requires_grad=True)
    def spoilt(f):
        scores = x*1
        loss = f(scores, t)
        scores.zero_()
        return torch.autograd.grad(loss, x)[0]
    torch.testing.assert_close(spoilt(lambda o, t: L.nll_loss(L.log_softmax(o, 1), t)), spoilt(F.cross_entropy))
    with pytest.raises(RuntimeError, match="inplace"): spoilt(L.cross_entropy)

floats = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
@pytest.mark.parametrize("a", floats)
@pytest.mark.parametrize("b", floats)
def test_mixed_types(a, b):
    x, t, w = torch.randn(4, 3).to(a), torch.rand(4, 3).softmax(1).to(b), torch.rand(4, 3).to(b)
    for name, args, kw in (("binary_cross_entropy_with_logits", (x, t), {}), ("binary_cross_entropy_with_logits", (x, t.to(a), w), dict(pos_weight=w[0])),
                           ("mse_loss", (x, t), {}), ("mse_loss", (x, t.to(a)), dict(weight=w)), ("cross_entropy", (x, t), {}), ("cross_entropy", (x, t.to(a), w[0]), {})):
        got, want = (getattr(o, name)(*args, **kw) for o in (L, F))
        assert got.dtype == want.dtype, name
        eps = max(torch.finfo(o).eps for o in (a, b)) # PyTorch rounds on the way, ours at the end
        torch.testing.assert_close(got, want, rtol=4*eps, atol=4*eps)

def test_targets_that_are_no_floats():
    x, t = torch.randn(4, 3), torch.rand(4, 3) < 0.5
    for o in (t, t.long(), t.byte()): torch.testing.assert_close(L.mse_loss(x, o), F.mse_loss(x, o))

def test_on_no_device():
    x, t, p = torch.empty(4, 3, device="meta"), torch.empty(4, dtype=torch.long, device="meta"), torch.empty(4, 3, device="meta")
    for loss in (L.cross_entropy(x, t), L.cross_entropy(x, p), L.nll_loss(x, t), L.mse_loss(x, p), L.binary_cross_entropy_with_logits(x, p)):
        assert loss.device.type == "meta" and loss.shape == () and loss.dtype == torch.float32

def test_arguments_are_left_alone():
    x, t, w = torch.randn(4, 3), torch.tensor([0, 1, -100, 2]), torch.rand(3)
    before = x.clone(), t.clone(), w.clone()
    for f in (L.cross_entropy, L.nll_loss): f(x.requires_grad_(), t, w).backward()
    assert all(map(torch.equal, (x, t, w), before))

X, T = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
@pytest.mark.parametrize("f", [L.nll_loss, L.cross_entropy])
@pytest.mark.parametrize("args, error, words", [
    ((X, T + 1), IndexError, "got 3"), ((X, T + 1), ValueError, "from 0 to 2"), ((X, T - 1), L.TargetError, "got -1"), ((X[:, :0], T), L.TargetError, "got 0"),
    ((X, T[:2]), ValueError, r"\(4,\).*\(4, 3\).*\(2,\)"), ((X, T[:, None]), ValueError, r"got \(4, 1\)"), ((X[0], T), ValueError, r"\(\).*\(4,\)"), ((torch.tensor(1.), T[0]), ValueError, r"\(\)"),
    ((X, T.float()), TypeError, "float32"), ((X, T.int()), TypeError, r"int32.*long\(\)"), ((X, T.tolist()), TypeError, "list"), ((X.long(), T), TypeError, "int64"), ((X.tolist(), T), TypeError, "list"),
    ((X, T, torch.ones(4)), ValueError, r"3 classes.*\(4,\)"), ((X, T, torch.ones(1, 3)), ValueError, r"\(1, 3\)"),
    ((X, T, None, True), NotImplementedError, "size_average"), ((X, T, None, None, -100, None, "avg"), ValueError, "'avg'")])
def test_refusals(f, args, error, words):
    with pytest.raises(error, match=words): f(*args)

def test_more_refusals():
    with pytest.raises(ValueError, match="got -0.1"): L.cross_entropy(X, T, label_smoothing=-0.1)
    with pytest.raises(TypeError, match="probabilities"): L.cross_entropy(X, X.long())
    with pytest.raises(ValueError, match="ignore_index.* got 1"): L.cross_entropy(X, X.softmax(1), ignore_index=1)
    for f in (L.mse_loss, L.binary_cross_entropy_with_logits):
        with pytest.raises(ValueError, match=r"\(4, 3\) and \(3,\)"): f(X, X[0])
        with pytest.raises(TypeError): f(X.long(), X.long())
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(3,\)"): L.mse_loss(X, X, weight=X[0])
    for f in (L.softmax, L.log_softmax, L.logsumexp):
        with pytest.raises(TypeError, match="int64"): f(T, 0)

@pytest.mark.parametrize("name", ["weight", "pos_weight"])
@pytest.mark.parametrize("shape, other", [((3, 1), (3,)), ((4,), (3,)), ((4,), (1, 4)), ((), (1,))])
def test_weights_are_broadcast_and_scores_are_not(name, shape, other):
    x, w = torch.zeros(shape), {name: torch.ones(other)}
    for f in (L.binary_cross_entropy_with_logits, L.BCEWithLogitsLoss(**w)):
        with pytest.raises(ValueError) as e: f(x, x, **({} if isinstance(f, L.BCEWithLogitsLoss) else w))
        assert f"{shape}, got {other}" in str(e.value)
    with pytest.raises(RuntimeError): F.binary_cross_entropy_with_logits(x, x, **w)

@pytest.mark.parametrize("f", [lambda o: L.cross_entropy(X, T, o), lambda o: L.cross_entropy(X, X, o), lambda o: L.nll_loss(X, T, o), lambda o: L.mse_loss(X, o), lambda o: L.mse_loss(X, X, weight=o),
                               lambda o: L.binary_cross_entropy_with_logits(X, X, o), lambda o: L.binary_cross_entropy_with_logits(X, X, pos_weight=o),
                               lambda o: L.accuracy(X, o), lambda o: L.accuracy(o, T)])
def test_lists_are_no_tensors(f):
    with pytest.raises(TypeError, match=r"got list: use torch.tensor"): f([1., 2., 3.])

def test_the_axis_that_is_not_given():
    for shape in ((), (3,), (2, 3), (2, 3, 4), (2, 3, 2, 2)):
        x = torch.randn(shape)
        for ours, theirs in ((L.softmax, F.softmax), (L.log_softmax, F.log_softmax)):
            with pytest.warns(UserWarning, match="say which") as seen: got = ours(x)
            assert seen[0].filename == __file__, "the warning points at the caller"
            with pytest.warns(UserWarning): torch.testing.assert_close(got, theirs(x))
    torch.testing.assert_close(L.softmax(T, 0, dtype=torch.float64), F.softmax(T, 0, dtype=torch.float64))
