"""Initial weights on shapes and arguments made at random, against PyTorch, bit for bit; stacks and models of many kinds."""
import math
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from course_lib import init
from course_lib.init import calculate_gain, deep_stack, fan_in_and_fan_out, lsuv_, plot_stack

often = settings(max_examples=200, deadline=None, derandomize=True)
shapes = st.lists(st.integers(1, 6), min_size=2, max_size=5)
names = st.sampled_from(["linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
slopes = st.one_of(st.integers(0, 5), st.floats(0, 10))

def made(f, shape, dtype, own, **kwargs):
    "A tensor filled by `f`, and the next random number of PyTorch's own generator."
    torch.manual_seed(1)
    t = torch.empty(shape, dtype=dtype)
    if own: kwargs["generator"] = torch.Generator().manual_seed(2)
    assert f(t, **kwargs) is t
    return t, torch.rand(1)

def same(name, shape, dtype, own, **kwargs):
    got, want = (made(getattr(o, name), shape, dtype, own, **kwargs) for o in (init, nn.init))
    assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1])

@often
@given(st.sampled_from(["kaiming_uniform_", "kaiming_normal_"]), shapes, st.sampled_from([torch.float32, torch.float64, torch.float16]), st.booleans(), slopes,
       st.sampled_from(["fan_in", "fan_out", "FAN_OUT"]), names)
def test_kaiming_is_pytorchs(name, shape, dtype, own, a, mode, nonlinearity): same(name, shape, dtype, own, a=a, mode=mode, nonlinearity=nonlinearity)

@often
@given(st.sampled_from(["xavier_uniform_", "xavier_normal_"]), shapes, st.sampled_from([torch.float32, torch.float64, torch.float16]), st.booleans(), st.floats(0, 10))
def test_xavier_is_pytorchs(name, shape, dtype, own, gain): same(name, shape, dtype, own, gain=gain)

@often
@given(names, st.one_of(st.none(), slopes))
def test_gains_are_pytorchs(name, param): assert calculate_gain(name, param) == nn.init.calculate_gain(name, param)

@often
@given(shapes)
def test_fans_are_pytorchs(shape): assert fan_in_and_fan_out(torch.empty(shape)) == nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))

@pytest.mark.parametrize("name", ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"])
def test_what_pytorch_refuses_is_refused(name):
    for shape in ((), (3,)):
        for o in (init, nn.init):
            with pytest.raises(ValueError): getattr(o, name)(torch.empty(shape))

@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_"])
def test_empty_weights_warn_as_pytorchs(name):
    for o in (init, nn.init):
        with pytest.warns(UserWarning): assert getattr(o, name)(torch.empty(0, 3)).shape == (0, 3)

@pytest.mark.parametrize("act", [None, torch.relu, torch.tanh, nn.PReLU(), lambda x: x.abs()])
@pytest.mark.parametrize("width", [1, 2, 33])
def test_stacks_of_any_kind(act, width):
    means, stds = deep_stack(7, width, nn.init.xavier_normal_, act)
    assert len(means) == len(stds) == 7 and all(map(math.isfinite, means + stds))

def test_a_stack_ends_with_its_first_nan():
    for act in (None, torch.relu):
        means, stds = deep_stack(100, 128, nn.init.normal_, act)
        assert len(means) == len(stds) < 100 and not math.isfinite(stds[-1]) and all(map(math.isfinite, stds[:-1]))
    assert len(deep_stack(100, 16, lambda w: w.fill_(math.nan))[1]) == 1

def test_weights_may_be_returned(): assert deep_stack(3, 4, lambda w: torch.eye(4))[1] == pytest.approx([deep_stack(1, 4, nn.init.eye_)[1][0]]*3, rel=0.2)

def test_pictures():
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    dead = ([0.], [0.])
    for o in (deep_stack(3, 4, nn.init.eye_), {"a": deep_stack(3, 4, nn.init.eye_), "b": deep_stack(200, 64, nn.init.normal_), "c": dead}): plt.close(plot_stack(o))
    with pytest.raises(ValueError): plot_stack({})

def stds(model, xb):
    found, handles = {}, []
    for k, m in model.named_modules():
        if getattr(m, "weight", None) is not None and m.weight.ndim > 1: handles.append(m.register_forward_hook(lambda m, i, o, k=k: (found.setdefault(k, o.std().item()), None)[1]))
    with torch.no_grad(): model(xb)
    for o in handles: o.remove()
    return found

acts = [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Softplus, nn.Tanhshrink, nn.Hardtanh, lambda: nn.LayerNorm(12), lambda: nn.Dropout(0.2)]

@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, len(acts) - 1), min_size=1, max_size=6), st.booleans(), st.integers(0, 99), st.floats(1e-3, 1e3))
def test_lsuv_gives_unit_std(kinds, bias, seed, scale):
    torch.manual_seed(seed)
    model = nn.Sequential(*(o for k in kinds for o in (nn.Linear(12, 12, bias=bias), acts[k]()))).eval()
    for o in model.parameters(): o.data.mul_(scale)
    xb = torch.randn(64, 12)
    assert lsuv_(model, xb) is model
    assert all(abs(o - 1) < 2e-3 for o in stds(model, xb).values())
    assert not any(m._forward_hooks for m in model) and all(o.requires_grad for o in model.parameters())

def test_lsuv_on_convolutions_embeddings_and_shared_weights():
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 3, 3), nn.Flatten(), nn.LazyLinear(5))
    xb = torch.randn(16, 1, 8, 8)
    conv(xb)
    assert all(abs(o - 1) < 2e-3 for o in stds(lsuv_(conv, xb), xb).values())
    layer = nn.Linear(6, 6)
    shared = nn.Sequential(nn.Embedding(10, 6), layer, nn.Tanh(), layer)
    found = stds(lsuv_(shared, torch.arange(10)), torch.arange(10))
    assert abs(found["0"] - 1) < 2e-3 and abs(found["1"] - 1) < 2e-3

def test_lsuv_refuses_what_it_cannot_mend():
    class Fixed(nn.Linear):
        def forward(self, x): return x*3
    for model, said in ((nn.Sequential(Fixed(4, 4)), "does not go to 1"), (nn.ReLU(), "got none"), (nn.Linear(4, 4), "layer '' .Linear.")):
        xb = torch.randn(8, 4)*(math.inf if isinstance(model, nn.Linear) else 1)
        with pytest.raises(ValueError, match=said): lsuv_(model, xb)
