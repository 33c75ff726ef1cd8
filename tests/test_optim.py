"""Optimizers and schedules beside PyTorch's: each combination of options, on parameters, gradients and histories made at random."""
import copy, inspect, itertools, pickle, warnings
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.optim import lr_scheduler as theirs_lr
from course_lib import optim
from course_lib.module import Parameter

often = settings(max_examples=60, deadline=None, derandomize=True)
both, decay, mom = [False, True], [0, 0.1], [0, 0.9]
OPTIONS = {
    "SGD": dict(momentum=mom, dampening=[0, 0.3], weight_decay=decay, nesterov=both, maximize=both),
    "RMSprop": dict(momentum=mom, alpha=[0.99, 0.5], eps=[1e-8, 1e-2], weight_decay=decay, centered=both, maximize=both),
    "Adam": dict(betas=[(0.9, 0.999), (0.5, 0.8)], eps=[1e-8, 1e-2], weight_decay=decay, amsgrad=both, maximize=both, decoupled_weight_decay=both),
    "AdamW": dict(betas=[(0.9, 0.999), (0.5, 0.8)], eps=[1e-8, 1e-2], weight_decay=decay, amsgrad=both, maximize=both)}

def combinations(name):
    for values in itertools.product(*OPTIONS[name].values()):
        o = dict(zip(OPTIONS[name], values))
        if not (o.get("nesterov") and (not o["momentum"] or o["dampening"])): yield o

def pair(name, params, **o):
    "Our optimizer and PyTorch's, each on its own copy of the parameters."
    sides = [[p.detach().clone().requires_grad_() for p in params] for _ in range(2)]
    return sides, (getattr(optim, name)(sides[0], **o), getattr(torch.optim, name)(sides[1], **o))

def flat(o):
    if isinstance(o, dict): return {k: flat(v) for k, v in o.items()}
    if isinstance(o, (list, tuple)): return [flat(v) for v in o]
    return (o.dtype, o.tolist()) if isinstance(o, torch.Tensor) else o

def run(sides, opts, n, gen, skip=5):
    "`n` steps of both with the same gradients, now and then with none; equal parameters, bit for bit, after each."
    for t in range(n):
        noise = [torch.randn(p.shape, generator=gen, dtype=torch.float64).to(p.dtype) for p in sides[0]]
        for params, opt in zip(sides, opts):
            for i, (p, e) in enumerate(zip(params, noise)): p.grad = None if skip and (t + i) % skip == 0 else p.detach()/2 + e
            opt.step()
        assert all(torch.equal(p, q) for p, q in zip(*sides)), t

@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_hundred_steps_with_every_combination_of_options(name, dtype):
    gen = torch.Generator().manual_seed(0)
    for o in combinations(name):
        sides, opts = pair(name, [torch.randn(s, dtype=dtype, generator=gen) for s in ((), (3, 2))], lr=0.01, **o)
        run(sides, opts, 100, gen)
        assert flat(opts[0].state_dict()) == flat(opts[1].state_dict()), o

@often
@given(st.data(), st.sampled_from(list(OPTIONS)), st.integers(0, 99), st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=4), st.integers(2, 6),
       st.sampled_from([1e-3, 0.1, 1., torch.tensor(0.25), torch.tensor([0.1]), torch.tensor(0.3, dtype=torch.float64)]), st.sampled_from([torch.float32, torch.float64]))
def test_any_shapes_and_saving_on_the_way(data, name, seed, shapes, skip, lr, dtype):
    "Ours and PyTorch's exchange their states half way."
    o = data.draw(st.sampled_from(list(combinations(name))))
    gen = torch.Generator().manual_seed(seed)
    sides, opts = pair(name, [torch.randn(s, generator=gen).to(dtype) for s in shapes], lr=copy.copy(lr), **o)
    run(sides, opts, 4, gen, skip)
    saved = [copy.deepcopy(x.state_dict()) for x in opts]
    for opt, state in zip(opts, reversed(saved)): opt.load_state_dict(state)
    run(sides, opts, 4, gen, skip)
    assert flat(opts[0].state_dict()) == flat(opts[1].state_dict())

@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_betas_may_be_tensors(name, dtype):
    "PyTorch computes with them in their own type, and so do we."
    for lr, kind in itertools.product((0.1, torch.tensor(0.1)), (torch.float32, torch.float64)):
        if kind == torch.float64 and dtype == torch.float32: continue # PyTorch then subtracts the first of them from 1 in 32 bits
        gen = torch.Generator().manual_seed(0)
        sides, opts = pair(name, [torch.randn(3, 2, dtype=dtype, generator=gen)], lr=lr, weight_decay=0.1, betas=(torch.tensor(0.8, dtype=kind), torch.tensor(0.95, dtype=kind)))
        run(sides, opts, 30, gen)
        assert flat(opts[0].state_dict()) == flat(opts[1].state_dict())

@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OPTIONS)
def test_half_precision(name, dtype):
    "PyTorch's own two forms differ there in the last bit: three steps may differ by a few of them."
    gen = torch.Generator().manual_seed(0)
    start, grads = torch.randn(50, generator=gen).to(dtype), torch.randn(3, 50, generator=gen).to(dtype)
    for o in combinations(name):
        sides, opts = pair(name, [start], lr=0.01, **{**o, "eps": 1e-2} if "eps" in o else o)
        for g, ([p], opt) in itertools.product(grads, zip(sides, opts)):
            p.grad = g
            opt.step()
        assert sides[0][0].dtype == dtype and torch.allclose(*sides[0], *sides[1], rtol=0.02, atol=0.002), o

SCHEDULES = st.one_of(
    st.tuples(st.just("StepLR"), st.fixed_dictionaries(dict(step_size=st.integers(1, 9), gamma=st.floats(0.1, 1.2)))),
    st.tuples(st.just("CosineAnnealingLR"), st.fixed_dictionaries(dict(T_max=st.integers(1, 30), eta_min=st.floats(0, 0.2)))),
    st.tuples(st.just("OneCycleLR"), st.fixed_dictionaries(dict(max_lr=st.floats(0.01, 2), total_steps=st.integers(20, 60), pct_start=st.floats(0.12, 0.45), three_phase=st.booleans(),
              anneal_strategy=st.sampled_from(["cos", "linear"]), cycle_momentum=st.booleans(), div_factor=st.floats(1, 50), final_div_factor=st.floats(1, 1e4)))))

@often
@given(SCHEDULES, st.sampled_from(["SGD", "RMSprop", "Adam"]), st.integers(0, 19))
def test_schedules_step_by_step(sched, name, stop):
    "Two groups, real steps; the state is exchanged on the way, and a schedule begun anew goes on from it."
    kind, o = sched
    gen = torch.Generator().manual_seed(1)
    params = [torch.randn(3, generator=gen) for _ in range(2)]
    sides = [[p.clone().requires_grad_() for p in params] for _ in range(3)]
    makes = [getattr(m, name) for m in (optim, torch.optim, torch.optim)]
    opts = [f([{"params": [p]}, {"params": [q], "lr": 0.3}], lr=0.1) for f, (p, q) in zip(makes, sides)]
    kinds = [getattr(m, kind) for m in (optim, optim, theirs_lr)]
    scheds = [f(x, **o) for f, x in zip(kinds, opts)]
    for t in range(20):
        for side, opt, s in zip(sides, opts, scheds):
            for i, p in enumerate(side): p.grad = p.detach() + i
            opt.step()
            s.step()
        told = [(s.get_last_lr(), s.state_dict(), flat(x.state_dict())) for s, x in zip(scheds, opts)]
        assert told[0] == told[2] and told[1] == told[2], t
        if t == stop:
            state = scheds[2].state_dict()
            scheds[0] = kinds[0](opts[0], **o)
            opts[0].load_state_dict(opts[2].state_dict())
            scheds[0].load_state_dict(copy.deepcopy(state))
            scheds[2].load_state_dict(copy.deepcopy(told[0][1]))

@pytest.mark.parametrize("kind, o", [("StepLR", dict(step_size=3)), ("CosineAnnealingLR", dict(T_max=7))])
def test_two_schedules_and_a_schedule_that_goes_on(kind, o):
    for start in (-1, 4):
        said = []
        for m, n in ((optim, optim), (theirs_lr, torch.optim)):
            opt = n.SGD([torch.ones(2, requires_grad=True)], lr=torch.tensor(0.5) if start < 0 else 0.5)
            if start >= 0: opt.param_groups[0]["initial_lr"] = 0.5
            pairs, rows = [getattr(m, kind)(opt, last_epoch=start, **o), m.StepLR(opt, 2, 0.9)], []
            for _ in range(12):
                opt.step()
                for s in pairs: s.step()
                rows.append(float(opt.param_groups[0]["lr"]))
            said.append(rows)
        assert said[0] == said[1]

def test_signatures_are_pytorchs():
    for name in [*OPTIONS, "StepLR", "CosineAnnealingLR", "OneCycleLR"]:
        ours, theirs = getattr(optim, name), getattr(torch.optim, name, None) or getattr(theirs_lr, name)
        mine, yours = ([(o.name, o.default, o.kind) for o in inspect.signature(f).parameters.values()] for f in (ours, theirs))
        assert mine == yours, name

@pytest.mark.parametrize("name, o", [
    *((n, dict(lr=-1.)) for n in OPTIONS), *((n, dict(weight_decay=-1.)) for n in OPTIONS), ("SGD", dict(momentum=-1.)), ("SGD", dict(nesterov=True)),
    ("SGD", dict(nesterov=True, momentum=0.9, dampening=0.1)), ("SGD", dict(lr=torch.ones(2))), ("RMSprop", dict(alpha=-1.)), ("RMSprop", dict(eps=-1.)), ("RMSprop", dict(momentum=-1.)),
    ("Adam", dict(betas=(1., 0.9))), ("Adam", dict(betas=(0.9, -0.1))), ("Adam", dict(betas=(0, 0.9))), ("AdamW", dict(eps=-1.)), ("AdamW", dict(betas=(0.9, 1.)))])
def test_what_pytorch_refuses_is_refused(name, o):
    for m in (optim, torch.optim):
        with pytest.raises(ValueError): getattr(m, name)([torch.ones(1, requires_grad=True)], **o)

def leaf(): return torch.ones(2, requires_grad=True)

@pytest.mark.parametrize("error, make", [
    (TypeError, lambda m: m.SGD(leaf())), (ValueError, lambda m: m.SGD([])), (TypeError, lambda m: m.SGD([1.])), (ValueError, lambda m: m.SGD([leaf()*2])),
    (TypeError, lambda m: m.SGD([{"params": {leaf()}}])), (ValueError, lambda m: m.SGD([("a", leaf()), leaf()])), (TypeError, lambda m: m.SGD([leaf()]).add_param_group([leaf()])),
    (ValueError, lambda m: (lambda p: m.SGD([{"params": [p]}, {"params": [p]}]))(leaf())), (ValueError, lambda m: m.SGD([("a", leaf())]).add_param_group({"params": [leaf()]})),
    (ValueError, lambda m: m.SGD([leaf()]).load_state_dict(m.SGD([leaf(), leaf()]).state_dict())), (KeyError, lambda m: m.SGD([leaf()]).add_param_group({"lr": 1.})),
    (ValueError, lambda m: m.SGD([leaf()]).load_state_dict(m.SGD([{"params": leaf()}, {"params": leaf()}]).state_dict()))])
def test_misuse_raises_what_pytorch_raises(error, make):
    for m in (optim, torch.optim):
        with pytest.raises(error): make(m)

@pytest.mark.parametrize("o", ["fused", "capturable", "differentiable"])
def test_what_is_not_supported_says_so(o):
    for name in OPTIONS:
        if o not in inspect.signature(getattr(optim, name)).parameters: continue
        with pytest.raises(NotImplementedError, match=o): getattr(optim, name)([leaf()], **{o: True})
        with pytest.raises(NotImplementedError, match=o): getattr(optim, name)([{"params": [leaf()], o: True}])
    with pytest.raises(NotImplementedError): optim.Adam([p := torch.ones(1, dtype=torch.complex64, requires_grad=True)]).step(lambda: p.abs().sum().backward())
    with pytest.raises(NotImplementedError): optim.Optimizer([p := leaf()], {}).step(lambda: p.sum().backward())

def test_schedules_refuse_what_cannot_be():
    opt = optim.SGD([leaf()], lr=1.)
    for make in (lambda: optim.OneCycleLR(opt, 1.), lambda: optim.OneCycleLR(opt, 1., 0), lambda: optim.OneCycleLR(opt, 1., epochs=2, steps_per_epoch=0), lambda: optim.StepLR(opt, 0),
                 lambda: optim.OneCycleLR(opt, 1., 10, pct_start=2.), lambda: optim.OneCycleLR(opt, 1., 10, anneal_strategy="x"), lambda: optim.OneCycleLR(opt, [1., 2.], 10),
                 lambda: optim.CosineAnnealingLR(opt, 0), lambda: optim.OneCycleLR(torch.optim.Adagrad([leaf()]), 1., 10)):
        with pytest.raises(ValueError): make()
    with pytest.raises(KeyError): optim.StepLR(optim.SGD([leaf()]), 3, last_epoch=2)
    with pytest.raises(TypeError): optim.StepLR([leaf()], 3)
    assert [optim.OneCycleLR(opt, 1., 10, pct_start=0.1, cycle_momentum=False).get_last_lr()] == [[1.]] # PyTorch's divides by 0 here

def test_groups_names_printing_copies():
    ps = [leaf(), leaf()]
    ours, theirs = (m.Adam([{"params": [("a", ps[0])], "lr": 0.5}, {"params": [("b", ps[1])]}]) for m in (optim, torch.optim))
    assert repr(ours) == repr(theirs) and ours.state_dict() == theirs.state_dict()
    given = {"params": [leaf()]}
    optim.SGD([given], lr=0.5)
    assert set(given) == {"params"}, "the caller's dict stays as it was"
    with pytest.warns(UserWarning, match="duplicate"): optim.SGD([ps[0], ps[0]])
    for p in ps: p.grad = torch.ones(2)
    ours.step()
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))): assert flat(other.state_dict()) == flat(ours.state_dict()) and list(other.state) == [p for g in other.param_groups for p in g["params"]]
    again = optim.Adam([{"params": [("a", leaf())]}, {"params": [("b", leaf())]}])
    again.load_state_dict(ours.state_dict())
    kept = again.state[again.param_groups[0]["params"][0]]["exp_avg"]
    assert kept.data_ptr() != ours.state[ps[0]]["exp_avg"].data_ptr(), "loading copies"
    again.load_state_dict({**ours.state_dict(), "state": {0: {"step": 3, "exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}}})
    assert torch.equal(again.state[again.param_groups[0]["params"][0]]["step"], torch.tensor(3.)), "a count may be a number"
    assert optim.AdamW([leaf()]).param_groups[0]["decoupled_weight_decay"]
    w = optim.AdamW([leaf()])
    w.load_state_dict(optim.Adam([leaf()]).state_dict())
    assert w.param_groups[0]["decoupled_weight_decay"], "AdamW stays AdamW"

def test_closures_zeros_and_parameters_of_both_kinds():
    for make in (Parameter, torch.nn.Parameter):
        for m in (optim, torch.optim):
            p = make(torch.tensor([1., 2.]))
            opt = m.SGD([p], lr=0.1)
            def closure():
                opt.zero_grad()
                loss = (p**2).sum()
                loss.backward()
                return loss
            with torch.no_grad(): assert opt.step(closure).item() == 5.
            assert torch.allclose(p, torch.tensor([0.8, 1.6]))
            opt.zero_grad(set_to_none=False)
            assert torch.equal(p.grad, torch.zeros(2))
            opt.zero_grad()
            assert p.grad is None
            opt.step()
            assert torch.allclose(p, torch.tensor([0.8, 1.6])), "without a gradient nothing moves"

def test_gradients_are_left_alone():
    for name in OPTIONS:
        for o in combinations(name):
            p = leaf()
            p.grad = torch.tensor([1., -2.])
            opt = getattr(optim, name)([p], lr=0.1, **o)
            for _ in range(2): opt.step()
            assert torch.equal(p.grad, torch.tensor([1., -2.])), (name, o)

def test_gradients_that_are_views_or_recorded_are_cleared():
    for m in (optim, torch.optim):
        p, whole = leaf(), torch.ones(6)
        p.grad = whole[2:4]
        opt = m.SGD([p])
        opt.zero_grad(set_to_none=False)
        assert whole.tolist() == [1., 1., 0., 0., 1., 1.]
        p.grad = p*2 # recorded
        opt.zero_grad(set_to_none=False)
        assert not p.grad.requires_grad and p.grad.grad_fn is None and torch.equal(p.grad, torch.zeros(2))

def test_a_schedule_steps_without_an_epoch_only():
    opt = optim.SGD([leaf()], lr=1.)
    scheds = optim.StepLR(opt, 1), optim.CosineAnnealingLR(opt, 5), optim.OneCycleLR(opt, 1., 9, cycle_momentum=False)
    for s in scheds:
        s.step(epoch=None)
        s.step(None)
        assert s.last_epoch == 2
        for e in (0, 3):
            with pytest.raises(NotImplementedError, match=f"epoch={e}"): s.step(epoch=e)
        assert s.last_epoch == 2
        assert list(inspect.signature(s.step).parameters) == list(inspect.signature(theirs_lr.StepLR.step).parameters)[1:]

def test_a_subclass_may_keep_what_it_likes():
    for m in (optim, torch.optim):
        class Rows(m.Optimizer):
            def __init__(self, params): super().__init__(params, {})
        first, second = (Rows([torch.ones(2, 3, requires_grad=True)]) for _ in range(2))
        first.state[first.param_groups[0]["params"][0]].update(row=torch.arange(2.), cols=[1, 2, 3], scale=torch.tensor(2.))
        second.load_state_dict(first.state_dict())
        assert flat(first.state_dict()) == flat(second.state_dict())
    adam = optim.Adam([torch.ones(2, 3, requires_grad=True)])
    for shape in ((), (2,), (3, 2)):
        with pytest.raises(ValueError, match="exp_avg_sq of shape"): adam.load_state_dict({**adam.state_dict(), "state": {0: {"step": 1., "exp_avg": torch.ones(2, 3), "exp_avg_sq": torch.ones(shape)}}})

def test_two_betas_are_asked_for():
    for f, b in itertools.product((optim.Adam, optim.AdamW), ((0.9,), (0.9, 0.9, 0.9), ())):
        with pytest.raises(ValueError, match="betas must be two numbers"): f([leaf()], betas=b)

@pytest.mark.parametrize("name", ["RMSprop", "Adam", "AdamW"])
def test_a_sparse_gradient_is_refused_whenever_it_comes(name):
    for dense_first in both:
        p = leaf()
        opt = getattr(optim, name)([p])
        if dense_first:
            p.grad = torch.ones(2)
            opt.step()
        before, p.grad = p.tolist(), torch.ones(2).to_sparse()
        with pytest.raises(RuntimeError, match=f"{name} does not support sparse gradients"): opt.step()
        assert p.tolist() == before
