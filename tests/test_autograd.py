"""The engine of chapter 05 on shapes and graphs made at random, operation by operation, against PyTorch and central differences."""
import copy, pickle, threading
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from course_lib.autograd import Tensor, concatenate, draw_graph, gradcheck, maximum, no_grad, stack, where

often = settings(max_examples=60, deadline=None, derandomize=True)
SIZES = st.sampled_from([1, 1, 2, 3, 0])
shapes = st.lists(SIZES, max_size=4).map(tuple)
seeds = st.integers(0, 99)

@st.composite
def that_broadcast(draw, n=2):
    "Shapes that broadcast with each other."
    whole = draw(shapes)
    parts = []
    for _ in range(n):
        part = [draw(st.sampled_from([1, o])) for o in whole]
        parts.append(tuple(part[draw(st.integers(0, len(part))):]))
    return parts

def agree(f, g, arrays, exact=1e-11, check=True):
    "`f` on our tensors does what `g` does on PyTorch's, value and gradients; and what central differences say, for small arrays."
    ours, theirs = [Tensor(o, requires_grad=True) for o in arrays], [torch.tensor(o, requires_grad=True) for o in arrays]
    a, b = f(*ours), g(*theirs)
    assert a.shape == tuple(b.shape)
    np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=exact, atol=exact)
    seed = np.random.default_rng(1).normal(size=a.shape)
    kept = seed.copy()
    a.backward(seed)
    b.backward(torch.tensor(seed))
    for o, p in zip(ours, theirs):
        assert type(o.grad) is np.ndarray and o.grad.shape == o.shape and o.grad.dtype == o.dtype
        np.testing.assert_allclose(o.grad, p.grad.numpy(), rtol=exact, atol=exact)
    everyone = [seed, a.data, *arrays, *(o.data for o in ours), *(o.grad for o in ours)]
    for i, o in enumerate(ours):
        for other in everyone:
            if other is not o.grad: assert not np.shares_memory(o.grad, other), f"the gradient of input {i} is somebody else's"
    assert np.array_equal(seed, kept)
    if check and sum(o.size for o in arrays) <= 12: assert gradcheck(f, *arrays)

def numbers(seed, shape, low=0.5, high=2.): return np.random.default_rng(seed).uniform(low, high, shape)
def apart(seed, shape): return numbers(seed, shape)*np.random.default_rng(seed + 1).choice([-1, 1], shape) # of both signs, and away from 0

@often
@given(that_broadcast(), seeds)
@pytest.mark.parametrize("f", [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a*b, lambda a, b: a/b], ids=["add", "sub", "mul", "div"])
def test_arithmetic(f, pair, seed): agree(f, f, [apart(seed, pair[0]), apart(seed + 5, pair[1])])

@often
@given(that_broadcast(), seeds)
def test_powers(pair, seed): agree(lambda a, b: a**b, lambda a, b: a**b, [numbers(seed, pair[0]), apart(seed, pair[1])])

@often
@given(shapes, seeds, st.sampled_from([-2, -1, 0, 1, 2, 3, 0.5, 2.5]))
def test_constant_powers(shape, seed, n):
    x = numbers(seed, shape) if n % 1 else apart(seed, shape)
    agree(lambda a: a**n, lambda a: a**n, [x])
    agree(lambda a: 1.5**a - n/a, lambda a: 1.5**a - n/a, [x])

def test_powers_of_zero():
    for n in (0, 1, 2, 3.):
        agree(lambda a: a**n, lambda a: a**n, [np.array([0., 1., -2.] if n % 1 == 0 else [0., 1.])], check=False)
        agree(lambda a, b: a**b, lambda a, b: a**b, [np.array([0., 2.]), np.array([n, n], dtype=float)], check=False)

@often
@given(that_broadcast(3), seeds)
def test_choices(three, seed):
    a, b, c = apart(seed, three[0]), apart(seed + 3, three[1]), apart(seed + 4, three[2]) > 0
    agree(maximum, torch.maximum, [a, b])
    agree(lambda x, y: where(c, x, y), lambda x, y: torch.where(torch.tensor(c), x, y), [a, b])
    agree(maximum, torch.maximum, [np.round(a), np.round(b)], check=False) # with ties

@often
@given(shapes, seeds)
@pytest.mark.parametrize("name", ["neg", "exp", "log", "sqrt", "tanh", "sigmoid", "abs", "relu"])
def test_functions(name, shape, seed):
    x = numbers(seed, shape) if name in ("log", "sqrt") else apart(seed, shape)
    agree(lambda a: getattr(a, name)(), lambda a: getattr(a, name)(), [x])

def test_corners():
    for name in ("relu", "abs"): agree(lambda a: getattr(a, name)(), lambda a: getattr(a, name)(), [np.zeros(3)], check=False)
    big = np.array([-1e4, -745., -40., 40., 1e4])
    for name in ("sigmoid", "tanh", "relu"): agree(lambda a: getattr(a, name)(), lambda a: getattr(a, name)(), [big], check=False)

@st.composite
def axes(draw, ndim):
    "None, one axis, or several, from either end."
    if ndim == 0 or draw(st.booleans()): return None
    some = draw(st.lists(st.integers(0, ndim - 1), min_size=1, max_size=ndim, unique=True))
    some = [o - ndim if draw(st.booleans()) else o for o in some]
    return some[0] if len(some) == 1 and draw(st.booleans()) else tuple(some)

@often
@given(st.lists(st.integers(1, 3), max_size=4).map(tuple), seeds, st.data(), st.booleans())
def test_reductions(shape, seed, data, keep):
    axis = data.draw(axes(len(shape)))
    all_axes = tuple(range(len(shape))) if axis is None else axis
    x = apart(seed, shape)
    agree(lambda a: a.sum(axis, keep), lambda a: a.sum(all_axes, keep), [x])
    agree(lambda a: a.mean(axis=axis, keepdims=keep), lambda a: a.mean(all_axes, keep), [x])
    agree(lambda a: a.max(axis, keepdims=keep), lambda a: a.amax(all_axes, keep), [x])
    agree(lambda a: a.max(axis, keepdims=keep), lambda a: a.amax(all_axes, keep), [np.round(x/2)], check=False) # with ties
    if shape: agree(lambda a: (3*a).log_softmax(axis if isinstance(axis, int) else -1), lambda a: (3*a).log_softmax(axis if isinstance(axis, int) else -1), [x])

@often
@given(shapes, seeds, st.data())
def test_moves(shape, seed, data):
    x = apart(seed, shape)
    perm = tuple(data.draw(st.permutations(range(len(shape)))))
    agree(lambda a: a.transpose(perm), lambda a: a.permute(perm), [x])
    if shape: agree(lambda a: a.transpose(*[o - len(shape) for o in perm]), lambda a: a.permute(perm), [x])
    agree(lambda a: a.T, lambda a: a.permute(tuple(range(len(shape)))[::-1]), [x])
    if x.size: agree(lambda a: a.reshape(-1), lambda a: a.reshape(-1), [x])
    agree(lambda a: a.reshape(shape[::-1]), lambda a: a.reshape(shape[::-1]), [x])
    agree(lambda a: a.squeeze(), lambda a: a.squeeze(), [x])
    at = data.draw(st.integers(-len(shape) - 1, len(shape)))
    agree(lambda a: a.unsqueeze(at), lambda a: a.unsqueeze(at), [x])
    ones = tuple(i for i, n in enumerate(shape) if n == 1)
    if ones: agree(lambda a: a.squeeze(ones), lambda a: a.squeeze(ones), [x])

@st.composite
def indices(draw, shape):
    "An index that PyTorch takes, too: numbers, slices, None, dots, one mask or arrays of places."
    parts, left = [], list(shape[:draw(st.integers(0, len(shape)))])
    places = draw(st.integers(1, 3))
    for n in left:
        kind = draw(st.sampled_from(["slice", "number", "list", "all"] if n else ["slice", "all"]))
        if kind == "slice": parts.append(slice(draw(st.integers(0, 2)), draw(st.one_of(st.none(), st.integers(-1, 3))), draw(st.integers(1, 2))))
        elif kind == "number": parts.append(draw(st.integers(-n, n - 1)))
        elif kind == "list": parts.append([draw(st.integers(-n, n - 1)) for _ in range(places)])
        else: parts.append(slice(None))
    if draw(st.booleans()): parts.append(...)
    if draw(st.booleans()): parts.insert(0, None)
    return tuple(parts)

@often
@given(shapes, seeds, st.data())
def test_indices(shape, seed, data):
    index, x = data.draw(indices(shape)), apart(seed, shape)
    agree(lambda a: a[index], lambda a: a[index], [x])
    mask = np.random.default_rng(seed).random(shape) > 0.5
    if shape: agree(lambda a: a[mask], lambda a: a[torch.tensor(mask)], [x])

@often
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), that_broadcast(), seeds, st.booleans(), st.booleans())
def test_products(i, j, k, stacks, seed, vector_a, vector_b):
    a = numbers(seed, (k,) if vector_a else (*stacks[0], i, k), -1, 1)
    b = numbers(seed + 1, (k,) if vector_b else (*stacks[1], k, j), -1, 1)
    agree(lambda x, y: x @ y, lambda x, y: x @ y, [a, b])

@often
@given(st.integers(1, 4), st.integers(1, 3), st.integers(2, 4), seeds)
def test_layers(n, n_in, n_out, seed):
    x, w, b = apart(seed, (n, n_in)), apart(seed + 1, (n_in, n_out)), apart(seed + 2, (n_out,))
    targ = np.random.default_rng(seed).integers(0, n_out, n)
    agree(lambda x, w, b: x.linear(w, b), lambda x, w, b: x @ w + b, [x, w, b])
    agree(lambda x, w, b: (20*x.linear(w, b)).cross_entropy(targ), lambda x, w, b: torch.nn.functional.cross_entropy(20*(x @ w + b), torch.tensor(targ)), [x, w, b], check=False)

@often
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 3), seeds, st.data())
def test_joins(shape, n, seed, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    same = [apart(seed + i, shape) for i in range(n)]
    agree(lambda *o: stack(o, axis), lambda *o: torch.stack(o, axis), same)
    longer = [apart(seed + i, [s + i*(d == axis % len(shape)) for d, s in enumerate(shape)]) for i in range(n)]
    agree(lambda *o: concatenate(o, axis), lambda *o: torch.cat(o, axis), longer)
    agree(lambda *o: concatenate([o[0], *o], axis), lambda *o: torch.cat([o[0], *o], axis), same)

@often
@given(st.integers(0, 10_000))
def test_whole_graphs(seed):
    "Twenty random operations on tensors that are used again and again."
    rng = np.random.default_rng(seed)
    unary = [lambda a: a.tanh(), lambda a: a.sigmoid(), lambda a: (a*a + 1).log(), lambda a: -a, lambda a: a.relu() + 0.1*a, lambda a: (a*a + 1).sqrt(), lambda a: a/2 - 1, lambda a: a.sum(0) + a, lambda a: a - a.mean()]
    binary = [lambda a, b: a + b, lambda a, b: a*b, lambda a, b: a - 2*b, lambda a, b: a/(b*b + 1), lambda a, b: (a @ b)/3]
    plan = [(rng.integers(len(unary)) if rng.random() < 0.5 else -1 - rng.integers(len(binary)), *rng.integers(0, i + 3, 2)) for i in range(20)]
    def f(*leaves):
        made = list(leaves)
        for op, i, j in plan: made.append(unary[op](made[i]) if op >= 0 else binary[-1 - op](made[i], made[j]).tanh())
        total = made[-1]
        for o in made: total = total + o
        return total.mean()
    agree(f, f, [rng.normal(size=(2, 2)) for _ in range(3)], exact=1e-9)

@often
@given(that_broadcast(), seeds, st.sampled_from(["float32", "float64", "int64"]), st.sampled_from(["float32", "float64", "int64"]))
def test_either_side(pair, seed, one, other):
    "A tensor meets arrays, numbers and lists as its array would."
    a, b = numbers(seed, pair[0], 1, 4).astype(one), numbers(seed, pair[1], 1, 4).astype(other)
    t = Tensor(a)
    for f in (lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x*y, lambda x, y: x/y, lambda x, y: x**y, lambda x, y: x < y, lambda x, y: x >= y, lambda x, y: x == y, lambda x, y: x != y, lambda x, y: (x > 2) & (y == 2), lambda x, y: (x > 2) | (y == 2), lambda x, y: (x > 2) ^ (y == 2)):
        for o in (b, Tensor(b), 2, 2.5):
            plain = o.data if isinstance(o, Tensor) else o
            for got, want in ((f(t, o), f(a, plain)), (f(o, t), f(plain, a))):
                assert type(got) is Tensor and got.shape == np.shape(want) and got.dtype == np.asarray(want).dtype
                np.testing.assert_array_equal(got.data, want)

@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("f, g", [(lambda a: a.relu(), lambda a: a.relu()), (lambda a: a.max(), lambda a: a.max()), (lambda a: maximum(a, 0.), lambda a: torch.maximum(a, torch.zeros((), dtype=a.dtype))),
                                  (lambda a: maximum(0., a), lambda a: torch.maximum(torch.zeros((), dtype=a.dtype), a))], ids=["relu", "max", "maximum", "maximum, second"])
def test_what_was_not_chosen_gets_0(f, g):
    "Also where the gradient that arrives is infinite, as that of sqrt at 0."
    for x in ([-1., 0.], [-1., 4.], [-3., -2., 1.]): agree(lambda a: f(a).sqrt().sum(), lambda a: g(a).sqrt().sum(), [np.array(x)], check=False)

def test_nan_wins():
    for f, g in ((maximum, torch.maximum), (lambda a, b: a.max() + b.max(), lambda a, b: a.max() + b.max())):
        agree(f, g, [np.array([1., np.nan, np.nan, 2.]), np.array([2., 1., np.nan, np.nan])], check=False)

def test_one_number_along_an_axis():
    for axis in (0, -1): agree(lambda a: a.sum(axis) + a.max(axis) + a.log_softmax(axis), lambda a: a.sum(axis) + a.amax(axis) + a.log_softmax(axis), [np.array(2.)])

def test_indices_that_pick_nothing():
    for index in ([], (slice(None), []), ([], 0)): agree(lambda a: a[index], lambda a: a[index], [np.ones((2, 3))])
    with pytest.raises(IndexError): Tensor([1.])[np.array([])] # as NumPy: an array has a type of its own

def test_generators_keep_their_gradients():
    x, y = numbers(0, (2, 3)), numbers(1, (2, 3))
    agree(lambda *o: stack((p*2 for p in o), 1), lambda *o: torch.stack([p*2 for p in o], 1), [x, y])
    agree(lambda *o: concatenate((p*2 for p in o), 1), lambda *o: torch.cat([p*2 for p in o], 1), [x, y])

def test_gradcheck_leaves_others_alone():
    w, v = Tensor([3., 4.], requires_grad=True), Tensor([1., 1.], requires_grad=True)
    v.grad, half = np.ones(2), w/2
    for _ in range(2): assert gradcheck(lambda a: a*w + v + half, [1., 2.])
    assert w.grad is None and v.grad.tolist() == [1, 1]
    half.sum().backward()
    assert w.grad.tolist() == [0.5, 0.5]

def test_a_result_is_not_copied():
    w = Tensor([1., 2.], requires_grad=True)
    w.grad = np.ones(2)
    used = w*2
    used.sum().backward()
    for o in (w*2, used):
        for f in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(RuntimeError, match="detach"): f(o)
    for o in (w, w.detach(), (w*2).detach(), Tensor(1)):
        for p in (copy.copy(o), copy.deepcopy(o), pickle.loads(pickle.dumps(o))):
            assert type(p) is Tensor and p.requires_grad == o.requires_grad and np.array_equal(p.data, o.data) and np.array_equal(p.grad, o.grad)
    assert not np.shares_memory(copy.deepcopy(w).data, w.data)

def test_no_grad_in_every_form():
    w = Tensor([1.], requires_grad=True)
    quiet = no_grad()
    @no_grad
    def bare(n): return [] if not n else [(w*2).requires_grad, *bare(n - 1), (w*2).requires_grad]
    @no_grad()
    def called(n): return [] if not n else [(w*2).requires_grad, *called(n - 1), (w*2).requires_grad]
    for f in (bare, called): assert not any(f(3)) and f.__name__ in ("bare", "called") and (w*2).requires_grad
    for _ in range(2):
        with quiet:
            with quiet: assert not (w*2).requires_grad
            assert not (w*2).requires_grad
        assert (w*2).requires_grad

def test_modes_are_per_thread():
    w, seen = Tensor([1.], requires_grad=True), []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((w*2).requires_grad))
        thread.start()
        thread.join()
        assert seen == [True] and not (w*2).requires_grad
    with pytest.raises(ZeroDivisionError), no_grad(), no_grad(): 1/0
    assert (w*2).requires_grad

def test_a_failed_walk_changes_nothing():
    w = Tensor([1., 2.], requires_grad=True)
    part = w*w
    part.sum().backward()
    before = w.grad.copy()
    for bad in (lambda: (part + w).sum().backward(), lambda: (w*2).backward(), lambda: (w*2).backward(np.ones(3))):
        with pytest.raises(RuntimeError): bad()
    assert np.array_equal(w.grad, before)

def test_deep_graphs():
    w = Tensor(np.ones(2), requires_grad=True)
    t = w
    for i in range(100_000): t = t.relu() if i % 2 else t*1
    del i
    other = t.sum()
    other.backward(retain_graph=True)
    assert w.grad.tolist() == [1, 1]
    with pytest.raises(ValueError, match="200"): draw_graph(other)
    del t, other
    with pytest.raises(RuntimeError, match="freed"):
        t = (w*2).sum()
        t.backward()
        draw_graph(t)

def test_long_names_fit():
    "About eight pixels for a bold letter."
    import re
    t = Tensor([[1., 2.]], requires_grad=True)
    graph = draw_graph(t.cross_entropy([0]), a_name_of_some_length=t)
    assert min(float(o) for o in re.findall(r'<rect [^>]* width="([\d.]+)"', graph.svg)) >= 7.7*len("a_name_of_some_length")
    with pytest.raises(TypeError, match="ndarray"): draw_graph(t.data)

@often
@given(st.integers(0, 10_000))
def test_drawings(seed):
    "No two boxes of a random graph lie on each other, arrows lead down, and everything lies inside."
    import re
    rng = np.random.default_rng(seed)
    made = [Tensor(1., requires_grad=True) for _ in range(3)]
    for _ in range(rng.integers(1, 15)): made.append(made[rng.integers(len(made))] + made[rng.integers(len(made))])
    graph = draw_graph(made[-1], first=made[0])
    boxes = [tuple(map(float, o)) for o in re.findall(r'<rect x="([-\d.]+)" y="([-\d.]+)" width="([\d.]+)" height="([\d.]+)"', graph.svg)]
    wide, high = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', graph.svg).groups())
    assert len(boxes) == len(str(graph).splitlines())
    for i, (x, y, w, h) in enumerate(boxes):
        assert 0 <= x and x + w <= wide and 0 <= y and y + h <= high
        for x2, y2, *_ in boxes[:i]: assert abs(x - x2) >= w or abs(y - y2) >= h
    for y0, y1 in re.findall(r'd="M[-\d.]+ ([-\d.]+)[VC][-\d.C ]+ ([-\d.]+)" fill="none"', graph.svg): assert float(y0) < float(y1)
