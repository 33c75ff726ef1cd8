"""The convnet and its blocks beside PyTorch's, shifts and confusion matrices on random cases, the recipe twice, and the network that ships."""
import os, stat
import pytest, torch
from hypothesis import given, settings, strategies as st
from matplotlib.figure import Figure
from torch import nn
from course_lib.convnet import (PRETRAINED, ResBlock, SmallConvNet, confusion_matrix, conv, plot_confusion, plot_top_losses, random_shift,
                                train_digits)
from course_lib.data import Images, load_images
from course_lib.layers import Identity

often = settings(max_examples=60, deadline=None, derandomize=True)
seldom = settings(max_examples=25, deadline=None, derandomize=True)
odd = st.sampled_from([1, 3, 5])

@pytest.fixture(scope="module")
def data(): return load_images()

@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

# ---- blocks

def torch_conv(ni, nf, ks=3, stride=2, act=True):
    return nn.Sequential(nn.Conv2d(ni, nf, ks, stride, ks//2, bias=False), nn.BatchNorm2d(nf), *[nn.ReLU()]*act)

class TorchRes(nn.Module):
    def __init__(self, ni, nf, stride, ks):
        super().__init__()
        self.convs = nn.Sequential(torch_conv(ni, nf, ks, stride), torch_conv(nf, nf, ks, 1, False))
        self.shortcut = nn.Identity() if (ni, stride) == (nf, 1) else torch_conv(ni, nf, 1, stride, False)

    def forward(self, x): return (self.shortcut(x) + self.convs(x)).relu()

def same(ours, theirs, x):
    "Outputs, gradients and running statistics, in training and in evaluation, in 64 bits."
    theirs.load_state_dict(ours.state_dict()) # the same names, too
    ours, theirs = ours.double(), theirs.double()
    for mode in True, False:
        outs = []
        for m in ours.train(mode), theirs.train(mode):
            inp = x.double().requires_grad_()
            out = m(inp)
            leaves = [inp, *m.parameters()]
            outs.append([out, *torch.autograd.grad((out**2).sum(), leaves)])
        for a, b in zip(*outs): assert a.shape == b.shape and a.allclose(b, rtol=1e-6, atol=1e-8*max(b.abs().max().item(), 1.))
    for k, v in theirs.state_dict().items(): assert ours.state_dict()[k].allclose(v, rtol=1e-9), k

@seldom
@given(st.integers(1, 3), st.integers(1, 4), odd, st.integers(1, 3), st.booleans(), st.integers(2, 9), st.integers(2, 9))
def test_conv(ni, nf, ks, stride, act, h, w):
    torch.manual_seed(0)
    block, x = conv(ni, nf, ks, stride, act), torch.randn(3, ni, h, w)
    assert block(x).shape == (3, nf, -(-h//stride), -(-w//stride))
    same(block, torch_conv(ni, nf, ks, stride, act), x)

@seldom
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), odd, st.integers(2, 9), st.integers(2, 9))
def test_res_block(ni, nf, stride, ks, h, w):
    torch.manual_seed(0)
    block, x = ResBlock(ni, nf, stride, ks), torch.randn(3, ni, h, w)
    assert block(x).shape == (3, nf, -(-h//stride), -(-w//stride))
    assert isinstance(block.shortcut, Identity) == (ni == nf and stride == 1)
    same(block, TorchRes(ni, nf, stride, ks), x)

def test_weights_start_as_he_found():
    torch.manual_seed(0)
    w = conv(64, 128, 3)[0].weight
    assert abs(w.std().item()/(2/(64*9))**0.5 - 1) < 0.02 and conv(1, 2)[0].bias is None

@pytest.mark.parametrize("make", [lambda: conv(1, 2, ks=2), lambda: ResBlock(1, 2, ks=4)])
def test_even_windows_are_refused(make):
    with pytest.raises(ValueError, match="odd ks"): make()

# ---- shifts

@often
@given(st.integers(0, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 99))
def test_each_image_is_moved_as_a_whole(by, n, h, w, c, seed):
    torch.manual_seed(seed)
    x = torch.rand(n, c, h, w) + 0.1
    out = random_shift(x, by)
    assert out.shape == x.shape and out.dtype == x.dtype and out.is_contiguous()
    big = torch.constant_pad_nd(x, [by]*4)
    for i in range(n): assert any(out[i].equal(big[i, :, d:d + h, r:r + w]) for d in range(2*by + 1) for r in range(2*by + 1))

@often
@given(st.integers(0, 2), st.integers(0, 4), st.integers(1, 6))
def test_flat_images_are_moved_as_square_ones(by, n, side):
    x = torch.rand(n, side*side, dtype=torch.float64)
    torch.manual_seed(3)
    flat = random_shift(x, by)
    torch.manual_seed(3)
    assert flat.equal(random_shift(x.view(n, 1, side, side), by).flatten(1) if n else x)

def test_all_ways_are_as_likely():
    torch.manual_seed(0)
    x = torch.zeros(9000, 1, 3, 3)
    x[:, 0, 1, 1] = 1
    counts = random_shift(x, 1).sum(0).flatten()
    assert counts.sum() == 9000 and (counts - 1000).abs().max() < 150

def test_what_cannot_be_shifted():
    for x in torch.zeros(3), torch.zeros(3, 5), torch.zeros(3, 4, 4), torch.zeros(1, 1, 1, 1, 1):
        with pytest.raises(ValueError): random_shift(x)
    with pytest.raises(ValueError, match="by=-1"): random_shift(torch.zeros(1, 4), -1)

# ---- confusion

@often
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=40), st.booleans())
def test_counts(pairs, as_scores):
    targ, said = (torch.tensor([o[k] for o in pairs], dtype=torch.int64) for k in (0, 1))
    want = torch.zeros(5, 5, dtype=torch.int64)
    for i, j in pairs: want[i, j] += 1
    got = confusion_matrix(torch.eye(5)[said], targ) if as_scores else confusion_matrix(said, targ, 5)
    assert got.equal(want)

def test_the_number_of_classes_that_is_not_given():
    assert confusion_matrix(torch.tensor([0, 2]), torch.tensor([1, 0])).shape == (3, 3)
    assert confusion_matrix(torch.tensor([0, 1], dtype=torch.int32), torch.tensor([1, 0]))[1, 0] == 1

@pytest.mark.parametrize("preds, targ, error", [(torch.zeros(3, 2), torch.zeros(4).long(), ValueError), (torch.zeros(3).long(), torch.zeros(3, 1).long(), ValueError), (torch.zeros(3), torch.zeros(3).long(), TypeError),
                                                (torch.zeros(3, 2), torch.zeros(3), TypeError), (torch.zeros(3, 2), torch.full((3,), 2), ValueError), (torch.zeros(1, 3, 2), torch.zeros(1).long(), ValueError),
                                                (torch.zeros(3).long(), torch.full((3,), -1), ValueError)])
def test_what_cannot_be_counted(preds, targ, error):
    with pytest.raises(error): confusion_matrix(preds, targ)

def test_figures():
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    cm = torch.tensor([[5, 1, 0], [0, 0, 0], [2, 0, 7]])
    fig = plot_confusion(cm, names=["a", "b", "c"])
    ax = fig.axes[0]
    assert isinstance(fig, Figure) and (ax.get_xlabel(), ax.get_ylabel()) == ("read as", "is")
    assert [o.get_text() for o in ax.get_yticklabels()] == ["a", "b", "c"]
    assert sorted(o.get_text() for o in ax.texts) == ["1", "2", "5", "7"], "zeros are left out"
    assert {(*o.get_position(), o.get_text()) for o in ax.texts} >= {(1, 0, "1"), (0, 2, "2")}, "column, row, number"
    for bad in torch.zeros(2, 3), torch.zeros(3):
        with pytest.raises(ValueError): plot_confusion(bad)
    with pytest.raises(ValueError, match="2 names"): plot_confusion(cm, names=["a", "b"])
    preds, targ = torch.tensor([[9., 0.], [0., 9.], [0., 1.]]), torch.tensor([0, 0, 0])
    for x in torch.rand(3, 16), torch.rand(3, 4, 4), torch.rand(3, 1, 4, 4):
        fig = plot_top_losses(x, preds, targ, n=2)
        assert [o.get_title() for o in fig.axes[:2]] == ["read as 1, 100%\nis 0, 0.0%", "read as 1, 73%\nis 0, 26.9%"]
    with pytest.raises(ValueError, match="3, 3 and 2"): plot_top_losses(x, preds, targ[:2])
    plt.close("all")

# ---- the network

def accuracy(model, x, y):
    with torch.no_grad(): return (model(x).argmax(1) == y).float().mean().item()

def test_the_network_that_ships(data):
    model = SmallConvNet.pretrained()
    assert not model.training and PRETRAINED.stat().st_size < 200_000
    assert accuracy(model, data.x_test, data.y_test) >= 0.99
    assert all(v.isfinite().all() for v in model.state_dict().values())

def test_saved_and_read(tmp_path):
    torch.manual_seed(1)
    model = SmallConvNet(n_out=3)
    model(torch.rand(8, 784)) # running statistics that are not those of the start
    path = tmp_path/"a folder"/"m.safetensors"
    for _ in range(2): model.save(path) # also over itself
    other = SmallConvNet.pretrained(path)
    for (k, a), (l, b) in zip(model.state_dict().items(), other.state_dict().items(), strict=True): assert k == l and a.equal(b) and a.dtype == b.dtype
    assert os.name == "nt" or path.stat().st_mode & stat.S_IROTH, "others may read it"
    from safetensors.torch import save_file
    save_file({"w": torch.zeros(1)}, tmp_path/"foreign.safetensors")
    with pytest.raises(RuntimeError): SmallConvNet.pretrained(tmp_path/"foreign.safetensors")
    with pytest.raises(FileNotFoundError): SmallConvNet.pretrained(tmp_path/"none.safetensors")

def test_shapes_of_inputs():
    model = SmallConvNet().eval()
    x = torch.rand(2, 784)
    assert model(x).equal(model(x.view(2, 1, 28, 28))) and model(x).shape == (2, 10)
    for shape in (784,), (28, 28), (2, 28, 28), (2, 3, 28, 28), (2, 1, 32, 32):
        with pytest.raises(ValueError, match="expected images"): model(torch.rand(shape))

def test_the_recipe_is_repeatable_and_leaves_random_numbers_alone(data):
    few = Images(*(o[:600] for o in data))
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    first = train_digits(2, data=few)
    assert torch.rand(3).equal(want)
    again, other = train_digits(2, data=few), train_digits(2, seed=1, data=few)
    states = [o.model.state_dict() for o in (first, again, other)]
    assert all(a.equal(b) for a, b in zip(states[0].values(), states[1].values()))
    assert not states[0]["head.1.weight"].equal(states[2]["head.1.weight"])
    assert first.step == 2*3 and first.batch[0].equal(few.x_valid), "what is validated is not moved"
    assert accuracy(first.model.eval(), few.x_train, few.y_train) > 0.3, "two times three batches, and better than chance"

@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_labels_as_the_files_have_them(dtype):
    "8 bits are what label files hold: too few for the index of a cell, and a mask where an index is meant."
    targ = torch.tensor([25, 29, 2], dtype=dtype)
    scores = torch.zeros(3, 30)
    scores[range(3), targ.long()] = 1
    assert confusion_matrix(scores, targ).nonzero().tolist() == [[2, 2], [25, 25], [29, 29]]
    assert torch.equal(confusion_matrix(targ, targ), confusion_matrix(targ.long(), targ.long()))
    assert "is 29" in " ".join(o.get_title() for o in plot_top_losses(torch.rand(3, 784), scores, targ).axes)

def test_no_items_are_counted_as_none():
    none = torch.zeros(0, dtype=torch.long)
    assert confusion_matrix(none, none).shape == (0, 0) and confusion_matrix(none, none, 3).sum() == 0

def test_a_damaged_network_is_told(tmp_path):
    (tmp_path/"net.safetensors").write_bytes(b"\xff"*40)
    with pytest.raises(ValueError, match="net.safetensors is no safetensors file, or a damaged one"): SmallConvNet.pretrained(tmp_path/"net.safetensors")
