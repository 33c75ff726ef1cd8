"""Broadcasting and einsum on shapes and equations made at random, against NumPy and PyTorch."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from course_lib.broadcasting import broadcast_shapes, broadcast_to, einsum, explain_broadcast

often = settings(max_examples=300, deadline=None, derandomize=True)
shapes = st.lists(st.lists(st.sampled_from([0, 1, 1, 2, 3]), max_size=4).map(tuple), min_size=1, max_size=4)

@often
@given(shapes)
def test_shapes_are_numpys(shapes):
    try: want = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(ValueError, match="neither is 1"): broadcast_shapes(*shapes)
        assert not explain_broadcast(*shapes).fits
    else:
        assert broadcast_shapes(*shapes) == want
        assert tuple(explain_broadcast(*shapes).result) == want

@often
@given(shapes, st.data())
def test_views_are_numpys(shapes, data):
    t = torch.arange(1., 1 + np.prod(shapes[0], dtype=int)).reshape(shapes[0])
    t = t.permute(data.draw(st.permutations(range(t.ndim))))
    target = shapes[-1]
    try: want = np.broadcast_to(t.numpy(), target)
    except ValueError:
        with pytest.raises(ValueError, match="cannot stretch"): broadcast_to(t, target)
    else:
        got = broadcast_to(t, target)
        assert got.shape == want.shape and np.array_equal(got.numpy(), want)
        assert got.untyped_storage().data_ptr() == t.untyped_storage().data_ptr()

@st.composite
def equations(draw):
    "An equation with one to four operands that PyTorch accepts, and the operands, whole numbers so that sums are exact."
    sizes = dict(zip("abcdE", draw(st.lists(st.integers(1, 3), min_size=5, max_size=5))))
    dots = draw(st.lists(st.integers(1, 3), max_size=2))
    terms, operands = [], []
    for _ in range(draw(st.integers(1, 4))):
        letters = draw(st.lists(st.sampled_from("abcdE"), max_size=3))
        shape = [sizes[o] for o in letters]
        if len(set(letters)) == len(letters): shape = [draw(st.sampled_from([1, n])) for n in shape]
        at = draw(st.integers(0, len(letters))) if dots and draw(st.booleans()) else None
        if at is not None:
            own = dots[draw(st.integers(0, len(dots))):]
            letters[at:at], shape[at:at] = ["..."], own
        terms.append("".join(letters))
        operands.append(torch.tensor(np.random.default_rng(draw(st.integers(0, 99))).integers(-3, 4, shape), dtype=torch.float64))
    equation = ",".join(terms)
    if draw(st.booleans()):
        used = sorted(set("".join(terms)) - {"."})
        out = draw(st.permutations(used))[:draw(st.integers(0, len(used)))]
        if "..." in equation and draw(st.booleans()): out.insert(draw(st.integers(0, len(out))), "...")
        equation += "->" + "".join(out)
    return equation, operands

@often
@given(equations())
def test_einsum_is_pytorchs(case):
    equation, operands = case
    want = torch.einsum(equation, *operands)
    got = einsum(equation, *operands)
    assert got.shape == want.shape and torch.equal(got, want), equation

@often
@given(equations())
def test_gradients_are_pytorchs(case):
    equation, operands = case
    grads = []
    for f in (einsum, torch.einsum):
        leaves = [o.clone().requires_grad_() for o in operands]
        f(equation, *leaves).sum().backward()
        grads.append([torch.zeros_like(o) if o.grad is None else o.grad for o in leaves])
    assert all(torch.equal(a, b) for a, b in zip(*grads)), equation
