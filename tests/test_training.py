"""Loaders beside PyTorch's on data and options made at random; workers that fail, are killed, or lose their parent; memory from epoch to epoch."""
import collections, inspect, itertools, multiprocessing, os, signal, sys, threading, time, types
import numpy as np, pytest, torch
import torch.utils.data as theirs
from hypothesis import given, settings, strategies as st
from course_lib import training as ours
from course_lib.layers import BatchNorm1d, Dropout, Linear
from course_lib.losses import accuracy, cross_entropy, mse_loss
from course_lib.module import Sequential
from course_lib.optim import SGD
from course_lib.training import CollateError, DataLoader, Dataset, Rows, TensorDataset, default_collate, evaluate, fit

often = settings(max_examples=60, deadline=None, derandomize=True)
forked = pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="classes of a test file can be sent to forked processes only")
linux = pytest.mark.skipif(not sys.platform.startswith("linux") or multiprocessing.get_start_method() != "fork", reason="reads /proc")

def same(a, b):
    "The same batch, down to the types."
    if type(a) is not type(b): return False
    if isinstance(a, torch.Tensor): return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, collections.abc.Mapping): return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple, collections.deque)): return len(a) == len(b) and all(map(same, a, b))
    return a == b

def gone(pid):
    "Is there no such process, or only its exit code?"
    try: return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError: return True

def wait_for(f, seconds=10):
    end = time.monotonic() + seconds
    while not f():
        if time.monotonic() > end: return False
        time.sleep(0.02)
    return True

# ---- collate

Point = collections.namedtuple("Point", "x y")
leaves = st.sampled_from([
    lambda i: i, lambda i: i + 0.5, lambda i: i > 1, lambda i: f"item {i}", lambda i: b"%d" % i, lambda i: torch.tensor([i, 2*i]), lambda i: torch.tensor(i/3),
    lambda i: torch.zeros(0), lambda i: np.arange(3) + i, lambda i: np.float32(i), lambda i: np.int8(i), lambda i: np.bool_(i), lambda i: np.float64(i), lambda i: np.array(i),
    lambda i: torch.ones(2, 2).bfloat16()*i, lambda i: np.ones((2, 3))[:, ::2]*i, lambda i: np.uint8([i]), lambda i: torch.ones(2, 3).t()*i])
structures = st.recursive(leaves, lambda inner: st.one_of(
    st.lists(inner, min_size=1, max_size=3).map(lambda fs: lambda i: [f(i) for f in fs]),
    st.lists(inner, min_size=1, max_size=3).map(lambda fs: lambda i: tuple(f(i) for f in fs)),
    st.tuples(inner, inner).map(lambda fs: lambda i: Point(*(f(i) for f in fs))),
    st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(lambda fs: lambda i: {k: f(i) for k, f in fs.items()}),
    st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(lambda fs: lambda i: collections.OrderedDict((k, f(i)) for k, f in fs.items())),
    st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(lambda fs: lambda i: collections.defaultdict(list, {k: f(i) for k, f in fs.items()})),
    st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(lambda fs: lambda i: types.MappingProxyType({k: f(i) for k, f in fs.items()})),
    st.lists(inner, min_size=1, max_size=3).map(lambda fs: lambda i: collections.deque(f(i) for f in fs))), max_leaves=6)

@settings(often, max_examples=200)
@given(structures, st.integers(1, 4))
def test_any_structure_is_collated_as_pytorch_does(make, n):
    batch = [make(i) for i in range(n)]
    assert same(default_collate(batch), theirs.default_collate(batch))
    assert same(ours._convert(batch), theirs.default_convert(batch))

def test_read_only_arrays_make_no_warning(recwarn):
    a = np.arange(3.)
    a.flags.writeable = False
    assert default_collate([a, a]).shape == (2, 3) and not recwarn.list

@pytest.mark.parametrize("batch, error, says", [
    ([None, None], TypeError, ["NoneType", "collate_fn"]), ([object()], TypeError, ["object"]), ([np.array(["a"])], TypeError, ["ndarray"]),
    ([torch.ones(3), torch.ones(4)], ValueError, ["[3] at entry 0", "[4] at entry 1"]), ([torch.ones(3), torch.ones(4)], RuntimeError, ["stack expects"]),
    ([[1, 2], [3]], RuntimeError, ["equal size", "item 0 has 2", "item 1 has 1"]), ([{"a": 1}, {"b": 2}], KeyError, ["item 1", "'a'"])])
def test_what_cannot_be_collated_is_named(batch, error, says):
    with pytest.raises(error) as e: default_collate(batch)
    assert all(o in str(e.value) for o in says)

def test_an_error_says_where_in_the_items_it_was():
    with pytest.raises(CollateError) as e: default_collate([{"a": (1, [torch.ones(1)])}, {"a": (2, [torch.ones(2)])}])
    assert e.value.__notes__ == ["in part 0 of the items", "in part 1 of the items", "in part 'a' of the items"]

# ---- datasets

def test_a_batch_is_fetched_by_one_index_and_is_still_a_list_of_items():
    x, y = torch.arange(20.).view(10, 2), torch.arange(10)
    ds = TensorDataset(x, y)
    for idx in ([3, 1], (3, 1), torch.tensor([3, 1]), np.array([3, 1]), [torch.tensor(3), np.int64(1)], [-7, -9], range(3, 0, -2)):
        rows = ds.__getitems__(idx)
        assert isinstance(rows, Rows) and len(rows) == 2 and same(rows[0], ds[3]) and same(list(rows), [ds[3], ds[1]]) and same(rows[-1:], [ds[1]])
        assert same(default_collate(rows), theirs.default_collate([ds[3], ds[1]])) and same(theirs.default_collate(rows), default_collate(rows))
    with pytest.raises(IndexError, match="10"): ds.__getitems__([10])
    assert TensorDataset(x.to("meta"), y).__getitems__([3, 1]).tensors[0].shape == (2, 2) # another device
    with pytest.raises(IndexError): ds[10]
    assert same(list(ds), [ds[i] for i in range(10)]) # stops at the end

def test_subclasses_and_subsets_are_asked_for_their_items():
    class Doubled(TensorDataset):
        def __getitem__(self, i): return tuple(2*o for o in super().__getitem__(i))
    class TheirDoubled(theirs.TensorDataset):
        def __getitem__(self, i): return tuple(2*o for o in super().__getitem__(i))
    x = torch.arange(10)
    for ds in (Doubled(x), TheirDoubled(x)): assert torch.equal(torch.cat([b for b, in DataLoader(ds, 4)]), 2*x)
    for ds in (TensorDataset(x), theirs.TensorDataset(x), Doubled(x)):
        sub = theirs.Subset(ds, [7, 2, 5])
        assert same(list(DataLoader(sub, 2)), list(theirs.DataLoader(sub, 2)))
        assert same(list(DataLoader(sub, 2)), [[o] for o in torch.cat([ds[i][0].view(1) for i in (7, 2, 5)]).split(2)])

@pytest.mark.parametrize("tensors, error, says", [((), ValueError, "at least one"), ((torch.ones(3), torch.ones(4)), ValueError, r"\[3, 4\]"), (([1, 2],), TypeError, "list"), ((torch.ones(()),), ValueError, r"\(\)")])
def test_tensors_that_make_no_dataset(tensors, error, says):
    with pytest.raises(error, match=says): TensorDataset(*tensors)

def test_a_dataset_without_items_says_so():
    class Empty(Dataset): pass
    with pytest.raises(NotImplementedError, match="Empty has no __getitem__"): Empty()[0]

# ---- order

def test_the_first_arguments_and_defaults_are_pytorchs():
    mine, yours = (list(inspect.signature(o.DataLoader.__init__).parameters.values())[1:] for o in (ours, theirs))
    assert [(o.name, o.default) for o in mine[:7]] == [(o.name, o.default) for o in yours[:7]]
    for name in ("RandomSampler", "BatchSampler", "SequentialSampler"):
        mine, yours = (inspect.signature(getattr(o, name).__init__).parameters.values() for o in (ours, theirs))
        assert [(o.name, o.default) for o in mine] == [(o.name, o.default) for o in yours]
    DataLoader([1], pin_memory=False, timeout=0, worker_init_fn=None, multiprocessing_context=None, prefetch_factor=None, persistent_workers=False, in_order=True)
    with pytest.raises(TypeError, match="batchsize"): DataLoader([1], batchsize=4)
    with pytest.raises(NotImplementedError, match="persistent_workers=True"): DataLoader([1], num_workers=1, persistent_workers=True)

@often
@given(st.data(), st.integers(1, 40), st.integers(1, 12), st.booleans(), st.booleans(), st.integers(1, 3))
def test_batches_and_random_states_are_pytorchs(data, n, bs, own, drop_last, epochs):
    kind = data.draw(st.sampled_from(["in order", "shuffled", "replacement", "num_samples", "no batches", "broken off"]))
    num_samples = data.draw(st.integers(1, 100))
    said = []
    for module in (ours, theirs):
        torch.manual_seed(n)
        gen = torch.Generator().manual_seed(bs) if own else None
        ds, options = module.TensorDataset(torch.arange(n), torch.arange(2.*n).view(n, 2)), dict(batch_size=bs, drop_last=drop_last)
        if kind == "shuffled": options["shuffle"] = True
        if kind in ("replacement", "num_samples"): options["sampler"] = module.RandomSampler(ds, kind == "replacement", num_samples, gen)
        if kind == "no batches": options = dict(batch_size=None, shuffle=True)
        if kind == "broken off": options["shuffle"] = True
        dl = module.DataLoader(ds, generator=gen, **options)
        its = [iter(dl), iter(dl)] # two at once
        got = [list(itertools.islice(o, 1)) for o in its]
        if kind != "broken off": got += [list(o) for o in its]
        del its
        got += [list(dl) for _ in range(epochs)]
        said.append([got, len(dl), torch.get_rng_state(), gen.get_state() if own else None])
    assert same(*said)

def test_options_exclude_each_other_as_in_pytorch():
    for o in (dict(shuffle=True, sampler=[0]), dict(batch_sampler=[[0]], batch_size=2), dict(batch_sampler=[[0]], shuffle=True), dict(batch_sampler=[[0]], sampler=[0]),
              dict(batch_sampler=[[0]], drop_last=True), dict(batch_size=None, drop_last=True), dict(num_workers=-1), dict(batch_size=0), dict(batch_size=-3), dict(batch_size=2.5), dict(batch_size=True), dict(drop_last=1)):
        for module in (ours, theirs):
            with pytest.raises(ValueError): module.DataLoader([1, 2, 3], **o)
    for module in (ours, theirs):
        with pytest.raises(ValueError, match="num_samples=0"): module.DataLoader([], shuffle=True)
        with pytest.raises(TypeError, match="replacement"): module.RandomSampler([1], replacement=1)
        dl = module.DataLoader([1, 2, 3], 2)
        for k in ("batch_size", "sampler", "batch_sampler", "drop_last", "dataset"):
            with pytest.raises(ValueError, match=f"{k} attribute should not be set"): setattr(dl, k, None)
        assert (dl.batch_size, dl.drop_last, dl.num_workers, dl.generator, dl.dataset) == (2, False, 0, None, [1, 2, 3])
        assert module.DataLoader([1], batch_sampler=[[0]]).batch_size is None
    class Stream(theirs.IterableDataset):
        def __iter__(self): yield 1
    with pytest.raises(NotImplementedError, match="IterableDataset"): DataLoader(Stream())
    with pytest.raises(TypeError, match="generator"): DataLoader(i for i in range(3))

def test_an_index_that_fails_is_told():
    with pytest.raises(IndexError) as e: list(DataLoader([1, 2, 3], 2, sampler=[0, 1, 7]))
    assert e.value.__notes__ == ["while fetching index 7 of list"]
    class Stops(Dataset): # must not look like the end of an epoch
        def __len__(self): return 4
        def __getitem__(self, i): raise StopIteration
    with pytest.raises(RuntimeError): list(DataLoader(Stops(), 2))

# ---- workers

class Items(Dataset):
    "n items, each of them whatever `make` makes of its index."
    def __init__(self, n, make): self.n, self.make = n, make
    def __len__(self): return self.n
    def __getitem__(self, i): return self.make(i)

@pytest.fixture(autouse=True)
def no_process_is_left():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    assert multiprocessing.active_children() == []

def failing(make): return DataLoader(Items(20, make), 4, num_workers=2)

@forked
def test_what_workers_send_is_what_would_be_fetched_here():
    kinds = [torch.bool, torch.uint8, torch.int16, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]
    def make(i): return {"all": [torch.ones(2, 3).to(k)*i for k in kinds], "odd": (torch.tensor(i), torch.zeros(0, 3), torch.arange(6).view(2, 3).t()), "name": f"item {i}", "none": np.float16(i), "big": torch.full((300, 300), i)}
    dl = DataLoader(Items(10, make), 3, num_workers=3)
    got = list(dl)
    assert same(got, list(DataLoader(Items(10, make), 3))) and len(dl) == 4
    got[0]["big"] += 1 # it may be written to
    sparse = next(iter(DataLoader(Items(2, lambda i: torch.eye(2).to_sparse()), None, num_workers=1)))
    assert torch.equal(sparse.to_dense(), torch.eye(2))

@forked
def test_batches_come_in_order_and_seeds_are_pytorchs():
    def make(i):
        time.sleep([0.03, 0.001, 0.01][i % 3])
        return i, os.getpid(), torch.rand(()), np.random.rand(), torch.get_num_threads()
    said = []
    for module in (ours, theirs):
        gen = torch.Generator().manual_seed(3)
        said.append([list(module.DataLoader(Items(11, make), 2, shuffle=True, num_workers=2, generator=gen)) for _ in range(2)])
        for epoch in said[-1]: assert torch.cat([b[1] for b in epoch]).unique().numel() == 2
    for e in range(2):
        for a, b in zip(said[0][e], said[1][e], strict=True): assert all(same(a[k], b[k]) for k in (0, 2, 3, 4))
    assert not torch.equal(said[0][0][0][2], said[0][0][1][2]) and not torch.equal(said[0][0][0][2], said[0][1][0][2])

@forked
def test_indices_and_batches_larger_than_a_pipe():
    dl = DataLoader(TensorDataset(torch.arange(400_000), torch.rand(400_000, 4)), 100_000, shuffle=True, num_workers=2)
    assert torch.equal(torch.cat([b[0] for b in dl]).sort().values, torch.arange(400_000))

class TwoArguments(Exception):
    def __init__(self, a, b): super().__init__(a, b)

@forked
def test_an_exception_comes_with_its_traceback_and_index():
    class Local(Exception): pass
    def damaged_file(i, error):
        if i == 13: raise error
        return i
    for error, kind in ((ValueError("no image"), ValueError), (KeyError("k"), KeyError), (TwoArguments(1, 2), RuntimeError), (Local("x"), RuntimeError), (OSError(2, "gone"), OSError)):
        got = []
        with pytest.raises(kind) as e:
            for b in failing(lambda i: damaged_file(i, error)): got += b.tolist()
        said = str(e.value)
        assert got == list(range(12)) and said.startswith(f"Caught {type(error).__name__} in DataLoader worker process 1.")
        assert "Traceback" in said and ", in damaged_file" in said and "while fetching index 13 of Items" in said and "\\n" not in said

@forked
def test_what_cannot_be_sent_or_collated_is_told():
    with pytest.raises(Exception, match="in DataLoader worker process 0"): list(DataLoader(Items(4, lambda i: i), 2, num_workers=1, collate_fn=lambda items: lambda: 0))
    with pytest.raises(ValueError, match=r"\[1\] at entry 0(.|\n)*collating the items at \[0, 1\] of Items"):
        list(DataLoader(Items(4, lambda i: torch.ones(i + 1)), 2, num_workers=1))

@linux
def test_a_worker_that_is_killed_is_told():
    with pytest.raises(RuntimeError, match="exited unexpectedly with code -9"): list(failing(lambda i: os.kill(os.getpid(), signal.SIGKILL) if i == 13 else i))

@linux
def test_a_worker_that_dies_between_two_batches_is_told():
    def last(i):
        if i == 3: threading.Timer(0.1, os._exit, (9,)).start()
        return i
    with pytest.raises(RuntimeError, match="exited unexpectedly with code 9"):
        for b in DataLoader(Items(40, last), 2, num_workers=1): time.sleep(0.3)

@forked
def test_fit_and_evaluate_leave_no_process_while_their_error_is_kept():
    loader = DataLoader(Items(40, lambda i: (torch.ones(3), 0)), 2, num_workers=2)
    model = Linear(3, 2)
    def stopped(preds, yb): raise KeyboardInterrupt
    for f in (lambda: evaluate(model, stopped, loader), lambda: fit(1, model, stopped, SGD(model.parameters(), 0.1), loader, loader)):
        with pytest.raises(KeyboardInterrupt) as e: f()
        assert e.value.__traceback__ and multiprocessing.active_children() == []

@forked
def test_a_loop_that_is_left_leaves_no_process():
    def slow(i):
        if i >= 8: time.sleep(100)
        return torch.ones(100_000)
    start = time.monotonic()
    for b in failing(slow): break
    assert multiprocessing.active_children() == []
    for _ in zip(range(1), failing(slow)): pass
    assert multiprocessing.active_children() == []
    try:
        for b in failing(slow): raise ZeroDivisionError
    except ZeroDivisionError as e: assert multiprocessing.active_children() == [] and e
    it = iter(failing(slow))
    next(it)
    assert len(multiprocessing.active_children()) == 2
    it.close()
    assert multiprocessing.active_children() == [] and time.monotonic() - start < 50
    for b in DataLoader(Items(3, int), 2, num_workers=8): pass # more workers than batches
    dl = DataLoader(Items(3, int), 2, num_workers=2, sampler=iter([0, 9, 1]))
    with pytest.raises(Exception): [int("x") for b in dl]

def fed_parent(report, how):
    "A process with two workers, which says who they are, and goes on until it is ended."
    if how == "interrupt": signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setpgid(0, 0)
    pids = set()
    def item(i):
        if i > 2: time.sleep(60)
        return os.getpid()
    try:
        for b in DataLoader(Items(100, item), 1, num_workers=3):
            pids.add(b.item())
            if len(pids) == 3: report.send(sorted(pids))
    except KeyboardInterrupt: report.send(("interrupted", len(multiprocessing.active_children())))

@linux
@pytest.mark.parametrize("how", ["kill", "terminate", "interrupt", "interrupt the group"])
def test_workers_end_with_their_parent(how):
    here, there = multiprocessing.Pipe()
    parent = multiprocessing.get_context("fork").Process(target=fed_parent, args=(there, how.split()[0]))
    parent.start()
    there.close()
    workers = here.recv()
    assert len(workers) == 3 and not any(map(gone, workers))
    time.sleep(0.1) # all of them are at work on something long, and the parent waits
    if how == "interrupt the group": os.killpg(parent.pid, signal.SIGINT) # as Ctrl-C in a terminal does
    else: os.kill(parent.pid, {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT}[how])
    if "interrupt" in how: assert here.poll(10) and here.recv() == ("interrupted", 0)
    parent.join(10)
    assert wait_for(lambda: all(map(gone, workers)))

@linux
def test_memory_and_files_do_not_grow_with_epochs():
    def rss(): return int(open("/proc/self/statm").read().split()[1])*os.sysconf("SC_PAGE_SIZE")
    def files(): return len(os.listdir("/proc/self/fd"))
    data = TensorDataset(torch.rand(4000, 784), torch.randint(0, 10, (4000,)))
    dl, fed = DataLoader(data, 64, shuffle=True), DataLoader(data, 64, num_workers=2)
    model = Sequential(Linear(784, 10))
    opt = SGD(model.parameters(), lr=0.01)
    def epochs(n):
        fit(n, model, cross_entropy, opt, dl, dl)
        for _ in range(n//5):
            for b in fed: pass
        return rss(), files()
    before = epochs(10)
    after = epochs(20)
    assert after[0] - before[0] < 8e6 and after[1] == before[1] # an epoch has 12 MB: not even one has been kept

# ---- measuring

@often
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 99))
def test_means_are_those_over_all_items(sizes, seed):
    gen = torch.Generator().manual_seed(seed)
    n = sum(sizes)
    x, y = torch.randn(n, 5, generator=gen), torch.randint(0, 3, (n,), generator=gen)
    model = Linear(5, 3)
    with torch.no_grad(): preds = model(x)
    loss, acc = evaluate(model, cross_entropy, list(zip(x.split(sizes), y.split(sizes))))
    assert loss == pytest.approx(cross_entropy(preds, y).item(), rel=1e-5) and acc == (preds.argmax(1) == y).sum().item()/n
    assert isinstance(loss, float) and isinstance(acc, float)

def test_evaluate_leaves_the_model_as_it_was():
    model = Sequential(Linear(4, 4), BatchNorm1d(4), Dropout(0.5))
    model[1].eval()
    batch = torch.randn(8, 4), torch.randint(0, 4, (8,))
    seen = []
    def loss_func(preds, targ):
        seen.append((torch.is_grad_enabled(), preds.requires_grad, *(o.training for o in model.modules())))
        return cross_entropy(preds, targ)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    evaluate(model, loss_func, [batch])
    def bad(*_): raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError): evaluate(model, bad, [batch])
    assert seen == [(False,)*6] and [o.training for o in model.modules()] == [True, True, False, True] and torch.is_grad_enabled()
    assert same(state, dict(model.state_dict()))
    assert evaluate(torch.nn.Linear(4, 4), cross_entropy, [batch])[1] <= 1
    assert evaluate(lambda x: x, cross_entropy, [batch])[1] == accuracy(*batch).item()

def test_what_cannot_be_measured_is_told():
    batch = torch.randn(8, 4), torch.randint(0, 4, (8,))
    model = Linear(4, 4)
    opt = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="got none"): evaluate(model, cross_entropy, [])
    with pytest.raises(ValueError, match="got none"): fit(1, model, cross_entropy, opt, [], [batch])
    with pytest.raises(ValueError, match=r"got \(8,\)"): evaluate(model, lambda p, t: (p - t[:, None]).pow(2).mean(1), [batch])
    for bad in (float("nan"), float("inf")):
        def second_is_bad(preds, targ, k=itertools.count()): return preds.sum()*0 + bad if next(k) % 2 else cross_entropy(preds, targ)
        with pytest.raises(ValueError, match=f"{bad} at batch 1"): evaluate(model, second_is_bad, [batch, batch])
        with pytest.raises(ValueError, match=f"{bad} at step 1 of epoch 0"): fit(1, model, second_is_bad, opt, [batch, batch], [batch])
    loss, acc = evaluate(model, mse_loss, [(batch[0], batch[0])])
    assert loss > 0 and acc != acc # no classes

@pytest.mark.parametrize("momentum", [0, 0.9])
def test_fit_is_the_loop_by_hand(momentum, capsys):
    x, y = torch.randn(50, 6), torch.randint(0, 3, (50,))
    torch.manual_seed(1)
    first = Sequential(Linear(6, 8), BatchNorm1d(8), Dropout(0.3), Linear(8, 3))
    state = {k: v.clone() for k, v in first.state_dict().items()}
    runs = []
    for module in (ours, theirs):
        model = Sequential(Linear(6, 8), BatchNorm1d(8), Dropout(0.3), Linear(8, 3))
        model.load_state_dict(state)
        opt = SGD(model.parameters(), lr=0.1, momentum=momentum)
        torch.manual_seed(2)
        dl, valid = module.DataLoader(module.TensorDataset(x, y), 8, shuffle=True), module.DataLoader(module.TensorDataset(x, y), 7)
        rows = []
        if module is ours:
            model.eval()
            rows = fit(3, model, cross_entropy, opt, dl, valid)
            assert not any(o.training for o in model.modules()) # as it was
        else:
            for i in range(3):
                model.train()
                total = 0.
                for xb, yb in dl:
                    loss = cross_entropy(model(xb), yb)
                    total += loss.item()*len(yb)
                    loss.backward()
                    opt.step()
                    opt.zero_grad()
                model.eval()
                with torch.no_grad(): both = [(cross_entropy(model(xb), yb).item()*len(yb), (model(xb).argmax(1) == yb).sum().item()) for xb, yb in valid]
                rows.append((i, total/50, sum(o[0] for o in both)/50, sum(o[1] for o in both)/50))
        runs.append((rows, {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()))
    assert runs[0][0] == runs[1][0] and same(runs[0][1], runs[1][1]) and torch.equal(runs[0][2], runs[1][2])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0].split() == ["epoch", "train", "loss", "valid", "loss", "accuracy"] and lines[3].split()[0] == "2"
    assert rows[2][0] == 2 and fit(0, model, cross_entropy, opt, dl, valid) == []
