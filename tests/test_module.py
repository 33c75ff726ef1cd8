"""Modules made at random, of ours and of PyTorch's: they must tell the same about themselves."""
import copy, io, pickle
import pytest, torch
import course_lib.module as ours
from hypothesis import given, settings, strategies as st
from torch import nn
from typing import NamedTuple

QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)
NAMES = st.sampled_from(["a", "b", "c", "weight", "0"])
SIZES = st.integers(1, 3)

# A plan is made once and carried out twice. A leaf of a plan is a parameter, a buffer or a None; a branch is a module.
@st.composite
def plans(draw, depth=3):
    "What is registered, in order: (name, kind, detail)."
    steps = []
    for name in draw(st.lists(NAMES, unique=True, max_size=4)):
        kind = draw(st.sampled_from(["param", "buffer", "hidden", "none", "shared", "module"] if depth else ["param", "buffer"]))
        detail = draw(plans(depth - 1)) if kind == "module" else draw(SIZES) if kind != "shared" else draw(st.sampled_from(["param", "buffer", "module"]))
        steps.append((name, kind, detail))
    return steps

def build(lib, plan, shared=None):
    class Node(lib.Module):
        def forward(self, x):
            for p in self.parameters(recurse=False): x = x*p.sum()
            for o in self.children(): x = o(x)
            return x.tanh()
        def extra_repr(self): return f"n={len(plan)}" if plan else ""
    if shared is None:
        leaf = lib.Sequential()
        leaf.register_buffer("z", torch.zeros(2))
        shared = dict(param=lib.Parameter(torch.ones(2)), buffer=torch.ones(3), module=leaf)
    m = Node()
    for name, kind, detail in plan:
        if kind == "param": m.register_parameter(name, lib.Parameter(torch.full((detail,), 0.5)))
        elif kind == "none": m.register_parameter(name, None) if detail > 1 else m.add_module(name, None)
        elif kind in ("buffer", "hidden"): m.register_buffer(name, torch.arange(detail), persistent=kind == "buffer")
        elif kind == "module": m.add_module(name, build(lib, detail, shared))
        elif detail == "param": m.register_parameter(name, shared["param"])
        elif detail == "buffer": m.register_buffer(name, shared["buffer"])
        else: m.add_module(name, shared["module"])
    return m

def facts(m):
    "All that a module says about itself, without the tensors' identities."
    def told(pairs): return [(k, tuple(t.shape), t.dtype, t.requires_grad, t.tolist()) for k, t in pairs]
    def kinds(pairs): return [(k, type(o).__name__) for k, o in pairs]
    yield from (told(m.named_parameters(prefix="p", remove_duplicate=o)) for o in (True, False))
    yield from (told(m.named_buffers(recurse=o)) for o in (True, False))
    yield from (kinds(m.named_modules(prefix="q", remove_duplicate=o)) for o in (True, False))
    yield from (kinds(m.named_children()), len(list(m.parameters())), len(list(m.buffers())), len(list(m.modules())))
    state = m.state_dict(prefix="s.")
    yield told(state.items()), dict(state._metadata), repr(m), [o.training for o in m.modules()]

@QUICK
@given(plans())
def test_a_tree_is_told_alike(plan):
    a, b = build(ours, plan), build(nn, plan)
    for change in (lambda m: m, lambda m: m.eval(), lambda m: m.double(), lambda m: m.requires_grad_(False),
                   lambda m: m.to(torch.float16), lambda m: m.train(), copy.deepcopy):
        a, b = change(a), change(b)
        assert list(facts(a)) == list(facts(b))

@QUICK
@given(plans(), plans())
def test_loading_says_alike(plan, other):
    "The state of one tree into another: what is missing, unexpected or of another shape."
    def attempt(m, state, strict):
        try: return [list(o) for o in m.load_state_dict(state, strict=strict)]
        except RuntimeError as e: return str(e).replace("\t", "")
    for source in (ours, nn):
        state = build(source, other).state_dict()
        for strict in (True, False):
            a, b = build(ours, plan), build(nn, plan)
            assert attempt(a, state, strict) == attempt(b, state, strict)
            assert [t.tolist() for t in a.state_dict().values()] == [t.tolist() for t in b.state_dict().values()]

@QUICK
@given(plans())
def test_gradients_and_hooks_alike(plan):
    seen = {}
    for lib in (ours, nn):
        m, log = build(lib, plan), []
        if lib is nn:
            try: m(torch.ones(2))
            except NotImplementedError: return # an empty Sequential of PyTorch's is fine; a bare Module is not
        for name, o in m.named_modules():
            o.register_forward_pre_hook(lambda m, args, name=name: log.append(("pre", name, args[0].tolist())))
            o.register_forward_hook(lambda m, args, out, name=name: log.append(("post", name, out.tolist())))
            o.register_full_backward_pre_hook(lambda m, g, name=name: log.append(("back", name, g[0].tolist())))
            o.register_full_backward_hook(lambda m, gi, go, name=name: log.append(("grad", name, gi[0].tolist(), go[0].tolist())))
        x = torch.tensor([0.3, -0.2], requires_grad=True)
        m(x).sum().backward()
        log += [x.grad, [p.grad for p in m.parameters()]]
        m.zero_grad(set_to_none=False)
        log += [[p.grad for p in m.parameters()]]
        seen[lib] = str(log)
    assert seen[ours] == seen[nn]

def early(lib):
    class Early(lib.Module):
        def __init__(self): pass
    return Early()

@pytest.mark.parametrize("make", [
    lambda lib: lib.Module().register_parameter("a.b", None), lambda lib: lib.Module().register_parameter("", None),
    lambda lib: lib.Module().register_parameter("training", None), lambda lib: lib.Module().register_parameter(3, None),
    lambda lib: lib.Module().register_parameter("a", torch.ones(1)), lambda lib: lib.Module().register_parameter("a", "b"),
    lambda lib: lib.Module().register_buffer("a.b", None), lambda lib: lib.Module().register_buffer("", None),
    lambda lib: lib.Module().register_buffer("forward", None), lambda lib: lib.Module().register_buffer(3, None),
    lambda lib: lib.Module().register_buffer("a", 3), lambda lib: lib.Module().add_module("a", 3),
    lambda lib: lib.Module().add_module("a.b", lib.Module()), lambda lib: lib.Module().add_module("", lib.Module()),
    lambda lib: lib.Module().add_module("apply", lib.Module()), lambda lib: lib.Module().add_module(3, lib.Module()),
    lambda lib: lib.Module().nothing, lambda lib: delattr(lib.Module(), "nothing"), lambda lib: lib.Module()(1),
    lambda lib: lib.Module(1), lambda lib: lib.Module(a=1), lambda lib: lib.Module().train(1), lambda lib: lib.Module().to(torch.int64),
    lambda lib: lib.Sequential()[0], lambda lib: lib.Sequential(lib.Sequential())[-2], lambda lib: lib.ModuleList([lib.Sequential()])[1],
    lambda lib: lib.Sequential(3), lambda lib: lib.ModuleList([lib.Sequential(), None, 3]), lambda lib: lib.ModuleList()(1),
    lambda lib: lib.Module().load_state_dict([1]), lambda lib: lib.Module().get_submodule("a.b"), lambda lib: lib.Module().get_parameter("a"),
    lambda lib: lib.Parameter(torch.ones(2, dtype=torch.int64)), lambda lib: lib.Sequential().insert(2, lib.Sequential()),
    lambda lib: lib.Sequential(lib.Sequential())["0"], lambda lib: lib.ModuleList([lib.Sequential()])[0.], lambda lib: lib.Sequential(lib.Sequential()).__delitem__("0"),
    lambda lib: lib.Sequential()*0, lambda lib: -1*lib.Sequential(), lambda lib: lib.Sequential()*2., lambda lib: lib.Sequential().__imul__(0),
    lambda lib: lib.Sequential() + [lib.Sequential()], lambda lib: lib.Sequential().__iadd__([lib.Sequential()]), lambda lib: lib.Sequential() + lib.ModuleList(),
    lambda lib: list(early(lib).parameters()),
])
def test_errors_of_the_same_type(make):
    raised = []
    for lib in (ours, nn):
        with pytest.raises(Exception) as e: make(lib)
        raised.append(e.type)
    assert raised[0] is raised[1], raised

def before_init(lib, value):
    class Early(lib.Module):
        def __init__(self):
            self.value = value(lib)
            super().__init__()
    return Early

@pytest.mark.parametrize("value", [lambda lib: lib.Parameter(torch.ones(1)), lambda lib: lib.Sequential()])
def test_assigning_before_init(value):
    for lib in (ours, nn):
        with pytest.raises(AttributeError, match="before Module.__init__"): before_init(lib, value)()
    assert before_init(ours, lambda lib: 3)().value == 3

@pytest.mark.parametrize("before", ["nothing", "a buffer", "no buffer", "a parameter", "a module", "a number"])
@pytest.mark.parametrize("persistent", [True, False])
def test_a_marked_buffer_is_registered(before, persistent):
    "What `m.b = nn.Buffer(...)` does, whatever b was before."
    told = []
    for lib in (ours, nn):
        m = lib.Module()
        if before == "a buffer": m.register_buffer("b", torch.ones(2), persistent=not persistent)
        elif before == "no buffer": m.register_buffer("b", None)
        elif before != "nothing": m.b = {"a parameter": lib.Parameter(torch.ones(2)), "a module": lib.Sequential(), "a number": 3}[before]
        try: m.b = nn.Buffer(torch.zeros(2), persistent=persistent)
        except Exception as e: told.append(type(e).__name__)
        else: told.append(([k for k, _ in m.named_buffers()], list(m.state_dict()), m.b.tolist(), "b" in vars(m)))
    assert told[0] == told[1]

def in_place(lib):
    p = lib.Parameter(torch.ones(2), requires_grad=False)
    p *= lib.Parameter(torch.ones(2))
    return p

def test_what_is_computed_is_no_parameter():
    "Silent for a plain tensor, in both; an error for a parameter that was computed in place."
    for lib in (ours, nn):
        m = lib.Module()
        m.half = lib.Parameter(torch.ones(2))/2
        assert "half" in vars(m) and not list(m.parameters()) and not m.state_dict()
        with pytest.raises(ValueError, match="non-leaf"): m.p = in_place(lib)

@QUICK
@given(st.data())
def test_containers_alike(data):
    "A random walk over one container of ours and one of PyTorch's."
    kind = data.draw(st.sampled_from(["Sequential", "ModuleList"]))
    def layer(lib, n):
        m = lib.Sequential()
        m.register_parameter("w", lib.Parameter(torch.full((n,), 1.)))
        m.extra_repr = lambda: f"n={n}"
        return m
    pair = [getattr(lib, kind)() for lib in (ours, nn)]
    for _ in range(data.draw(st.integers(0, 6))):
        what, i, n = data.draw(st.sampled_from(["append", "insert", "set", "del", "slice", "delslice", "extend", "add", "times"])), data.draw(st.integers(-2, 3)), data.draw(SIZES)
        for at, lib in enumerate((ours, nn)):
            m = pair[at]
            if what == "append": assert m.append(layer(lib, n)) is m
            elif what == "insert" and 0 <= i <= len(m): m.insert(i, layer(lib, n))
            elif what == "set" and 0 <= i < len(m): m[i] = layer(lib, n)
            elif what == "del" and -len(m) <= i < len(m): del m[i]
            elif what == "slice": pair[at] = m[i:]
            elif what == "delslice": del m[i:2]
            elif what == "extend": m.extend([layer(lib, n), layer(lib, n)])
            elif what == "times" and kind == "Sequential": pair[at] = 2*m if n > 1 else m*1
            elif what == "add": pair[at] = m + getattr(lib, kind)(*([[layer(lib, n)]] if kind == "ModuleList" else [layer(lib, n)]))
        if list(pair[1]._modules) != [str(k) for k in range(len(pair[1]))]:
            pair = [getattr(lib, kind)(*([list(m)] if kind == "ModuleList" else list(m))) for lib, m in zip((ours, nn), pair)] # a slice of a Sequential keeps its names; begin anew
        a, b = pair
        assert (len(a), repr(a), list(a.state_dict())) == (len(b), repr(b), list(b.state_dict()))
        assert [o is a[k] for k, o in enumerate(a)] == [True]*len(b)

class Net(ours.AutoInitModule):
    def __init__(self, nh): self.first, self.act = ours.Parameter(torch.randn(nh, 2)), nn.ReLU()
    def forward(self, x): return self.act(x @ self.first.t())

def test_copies_and_pickles():
    net = Net(3)
    net.register_buffer("seen", torch.tensor(2), persistent=False)
    net.register_forward_hook(count)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(net(torch.ones(1, 2)), other(torch.ones(1, 2)))
        assert other.first is not net.first and type(other.first) is ours.Parameter and other.first.is_leaf and other.first.requires_grad
        assert other.seen == 2 and list(other.state_dict()) == ["first"] and len(other._forward_hooks) == 1
        other.register_forward_hook(count)
        assert (len(other._forward_hooks), len(net._forward_hooks)) == (2, 1)
    tied = ours.Sequential(net, net)
    assert len(list(copy.deepcopy(tied).parameters())) == 1

def count(module, args, out): pass

@pytest.mark.parametrize("opt_func", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
def test_torch_optimizers_take_ours(opt_func):
    torch.manual_seed(0)
    w, x = torch.randn(4, 3), torch.randn(5, 3)
    results = []
    for lib in (ours, nn):
        m = lib.Module()
        m.w = lib.Parameter(w.clone())
        opt = opt_func(m.parameters(), lr=0.1)
        for _ in range(5):
            opt.zero_grad()
            (x @ m.w.t()).square().sum().backward()
            nn.utils.clip_grad_norm_(m.parameters(), 1.)
            opt.step()
        results.append(m.w.detach())
    assert torch.equal(*results)

def test_compile_takes_ours():
    torch._dynamo.reset() # what other tests compiled does not count
    torch.manual_seed(0)
    net = ours.Sequential(Net(3), nn.Linear(3, 2))
    fast, x = torch.compile(net, backend="eager", fullgraph=True), torch.randn(4, 2)
    for change in (lambda: None, net.eval, lambda: net.requires_grad_(False)):
        change()
        assert torch.equal(fast(x), net(x))

@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compile_keeps_backward_hooks(backend):
    "What a backward hook changes stays changed when the call is compiled, the second time too."
    torch._dynamo.reset()
    grads = []
    for compiled in (False, True):
        torch.manual_seed(0)
        net, calls, x = ours.Sequential(Net(3), nn.Linear(3, 2)), [], torch.ones(4, 2, requires_grad=True)
        net[0].register_full_backward_hook(lambda m, grad_inp, grad_out: (calls.append(m), (100*grad_inp[0],))[1])
        f = torch.compile(net, backend=backend) if compiled else net
        for _ in range(2): f(x).sum().backward()
        assert calls == [net[0]]*2
        grads.append(x.grad)
    assert torch.allclose(*grads) and grads[0].abs().sum() > 0
    torch._dynamo.reset()
    with pytest.raises(RuntimeError): torch.compile(net, backend=backend, fullgraph=True)(x)

class Two(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor

def test_a_namedtuple_stays_one():
    for lib in (ours, nn):
        class Split(lib.Module):
            def forward(self, x): return Two(2*x, 3*x)
        m, heard = Split(), []
        m.register_full_backward_hook(lambda m, grad_inp, grad_out: heard.append(grad_inp[0].item()))
        out = m(torch.ones(1, requires_grad=True))
        (out.first + out.second).backward()
        assert type(out) is Two and heard == [5.]

def test_insert_into_a_list():
    "At the end if there is nothing at the index, as `list.insert`; returns nothing."
    m, want = ours.ModuleList([ours.Sequential()]), []
    want.append(m[0])
    for i in (0, 5, -1, -9):
        new = ours.Sequential()
        want.insert(i, new)
        assert m.insert(i, new) is None and [a is b for a, b in zip(m, want)] == [True]*len(want)
        assert list(m._modules) == [str(k) for k in range(len(want))]

def test_times_in_place():
    for lib in (ours, nn):
        m = row = lib.Sequential(lib.Sequential(), lib.Sequential())
        m *= 2
        assert m is row and len(m) == 4 and m[0] is m[2] and (lambda o: o.__imul__(1) is o and len(o) == 4)(m)

def test_loading_by_assignment():
    "A parameter is kept as the object it is, and asks for a gradient as the one before it did."
    for lib in (ours, nn):
        m, p = lib.Module(), lib.Parameter(torch.ones(2), requires_grad=False)
        m.w, m.c = lib.Parameter(torch.zeros(2)), lib.Parameter(torch.tensor(0.))
        m.load_state_dict({"w": p, "c": torch.tensor([5.])}, assign=True)
        assert m.w is p and p.requires_grad and m.c.shape == () and m.c.item() == 5 and isinstance(m.c, nn.Parameter)
        m.load_state_dict({"w": p, "c": torch.tensor([7.])})
        assert m.c.item() == 7 and m.w is p
        with pytest.raises(RuntimeError, match="size mismatch"): m.load_state_dict({"w": p, "c": torch.ones(2)})

def test_a_layer_is_told_the_version_of_its_file():
    for lib in (ours, nn):
        heard = []
        class Old(lib.Module):
            _version = 3
            def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
                heard.append(local_metadata.get("version"))
                super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
        m = lib.Sequential(Old())
        m.load_state_dict(m.state_dict())
        m.load_state_dict(dict(m.state_dict()))
        assert heard == [3, None]

def test_parameters_pass_a_safe_load():
    m, file = Net(3), io.BytesIO()
    torch.save(m.state_dict(keep_vars=True), file)
    file.seek(0)
    other = torch.load(file, weights_only=True)["first"]
    assert type(other) is ours.Parameter and other.requires_grad and torch.equal(other, m.first)

def test_a_module_may_stand_where_it_was():
    "Converting keeps the parameters the same objects, with their gradients, so that an optimizer goes on."
    net = Net(3)
    first = net.first
    net(torch.ones(1, 2)).sum().backward()
    grad = first.grad.clone()
    net.double()
    assert net.first is first and first.dtype == first.grad.dtype == torch.float64 and torch.equal(first.grad, grad.double())
    net.to("meta")
    assert net.first.device.type == "meta" and net.first.requires_grad and isinstance(net.first, ours.Parameter)
