"""The Learner: killed and resumed at any moment, damaged checkpoints, PyTorch's parts in any place, and what it shows outside a notebook."""
import copy, io, itertools, json, math, multiprocessing, os, random, re, signal, sys, warnings
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from types import SimpleNamespace
from unittest import mock
from course_lib import learner as mod, optim, training
from course_lib.layers import BatchNorm1d, Dropout, Linear, ReLU
from course_lib.learner import *
from course_lib.losses import accuracy, cross_entropy
from course_lib.module import Sequential

@pytest.fixture(autouse=True, scope="module")
def one_thread():
    "As in the processes that are killed: another number of threads may give other last bits."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

X = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)

class Draws(Callback):
    "Uses every global random generator, as augmentation would."
    def before_batch(self, learn):
        x, y = learn.batch
        if learn.training: learn.batch = x + random.random()/10 + float(np.random.rand())/10 + torch.rand(())/10, y

def make(*cbs, lib="ours", seed=0, n_epochs=3, generator=False, workers=0, opt=None, **other):
    "A learner in which everything is random that can be, of our parts or of PyTorch's."
    nn = torch.nn if lib == "torch" else SimpleNamespace(Sequential=Sequential, Linear=Linear, BatchNorm1d=BatchNorm1d, ReLU=ReLU, Dropout=Dropout)
    opts = torch.optim if lib == "torch" else optim
    data = torch.utils.data if lib == "torch" else training
    sched = torch.optim.lr_scheduler.OneCycleLR if lib == "torch" else optim.OneCycleLR
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 3))
    gen = torch.Generator().manual_seed(2) if generator else None
    train = data.DataLoader(data.TensorDataset(X, Y), 8, shuffle=True, generator=gen, num_workers=workers)
    dls = SimpleNamespace(train=train, valid=data.DataLoader(data.TensorDataset(X, Y), 20))
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    cbs = [Draws(), SchedulerCB(lambda o: sched(o, 0.02, total_steps=7*n_epochs)), ClipGradCB(1.), EarlyStoppingCB(9), RecorderCB(), MetricsCB(accuracy), *cbs]
    return Learner(model, dls, cross_entropy, 0.01, cbs, opt or opts.AdamW, **other)

def recorder(learn): return next(o for o in learn.cbs if type(o) is RecorderCB)
def state(learn): return [*learn.model.state_dict().values(), *(v for s in learn.opt.state_dict()["state"].values() for v in s.values() if isinstance(v, torch.Tensor))]
def assert_same(a, b):
    assert all(map(torch.equal, state(a), state(b)))
    assert (recorder(a).losses, recorder(a).lrs, recorder(a).epochs, a.metrics) == (recorder(b).losses, recorder(b).lrs, recorder(b).epochs, b.metrics)

# ---- killed, and gone on

class Kill(Callback):
    order = math.inf # after the checkpoint is written, if this stands behind CheckpointCB
    def __init__(self, step): self.step = step
    def cleanup_batch(self, learn):
        if learn.training and learn.step == self.step: os.kill(os.getpid(), signal.SIGKILL)

def killed(work):
    "Run `work` in a process of its own, which must be ended by SIGKILL."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore") # forking beside threads: this child is killed soon
        pid = os.fork()
    if not pid:
        try:
            torch.set_num_threads(1)
            work()
        finally: os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

posix = pytest.mark.skipif(sys.platform != "linux", reason="forks, after PyTorch has run: safe on Linux")

@posix
@pytest.mark.parametrize("lib, generator, steps", [("ours", False, (2, 3, 6, 7, 8, 13, 14, 15, 20, 21)), ("ours", True, (5, 14)), ("torch", False, (7, 12)), ("torch", True, (11, 21))])
def test_killed_at_any_step_and_resumed(tmp_path, lib, generator, steps):
    "21 steps in three epochs of 7; a checkpoint every second one; killed in the middle of an epoch, at its ends, and at the very end."
    how = dict(lib=lib, generator=generator)
    whole = make(**how)
    whole.fit(3)
    for step in steps:
        path = tmp_path/f"{step}"
        killed(lambda: make(CheckpointCB(path, every=2), Kill(step), **how).fit(3))
        again = make(CheckpointCB(path, every=2), seed=step, **how)
        if generator: again.dls.train.generator.manual_seed(77)
        again.fit(3, resume=path)
        assert_same(whole, again)

@posix
@pytest.mark.parametrize("moment", ["half of the file", "fsync", "replace", "replaced"])
def test_killed_while_it_writes(tmp_path, moment):
    path = tmp_path/"run"
    whole = make()
    whole.fit(3)
    def work():
        saves, real_replace, real_open = itertools.count(1), os.replace, open
        def die(): os.kill(os.getpid(), signal.SIGKILL)
        class Half:
            def __init__(self, f): self.f = f
            def __enter__(self): return self
            def __exit__(self, *exc): self.f.close()
            def write(self, data):
                self.f.write(data[:len(data)//2])
                self.f.flush()
                if next(saves) == 3: die()
                self.f.write(data[len(data)//2:])
            def flush(self): self.f.flush()
            def fileno(self): return self.f.fileno()
        def fsync(fd):
            if moment == "fsync" and next(saves) == 3: die()
        def replace(a, b):
            third = moment.startswith("replace") and next(saves) == 3
            if third and moment == "replace": die()
            real_replace(a, b)
            if third: die()
        with mock.patch("os.fsync", fsync), mock.patch("os.replace", replace):
            if moment == "half of the file": mod.open = lambda *a, **k: Half(real_open(*a, **k))
            make(CheckpointCB(path, every=3)).fit(3)
    killed(work)
    again = make(CheckpointCB(path, every=3), seed=9)
    told = []
    again.cbs.append(type("First", (Callback,), dict(after_step=lambda self, learn: told.append(learn.step)))())
    again.fit(3, resume=path)
    assert told[0] == (10 if moment == "replaced" else 7) and again.step == 21
    assert_same(whole, again)
    assert [o.name for o in tmp_path.iterdir()] == ["run"] # what was left half way is gone

def interrupted(path, step, **how):
    class Stop(Callback):
        order = math.inf
        def cleanup_batch(self, learn):
            if learn.training and learn.step == step: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): make(CheckpointCB(path, every=1), Stop(), **how).fit(3)

@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=3, unique=True).map(sorted), st.sampled_from(["SGD", "RMSprop", "Adam"]), st.booleans())
def test_resumed_more_than_once(tmp_path_factory, steps, name, theirs):
    "Each run goes on from the one before, and is stopped in its turn."
    path = tmp_path_factory.mktemp("runs")/"deeper"/"run"
    options = dict(momentum=0.9) if name != "Adam" else {}
    how = dict(opt=lambda ps, lr: getattr(torch.optim if theirs else optim, name)(ps, lr, **options))
    whole = make(**how)
    whole.fit(3)
    resume = None
    for step in steps:
        class Stop(Callback):
            order = math.inf
            def cleanup_batch(self, learn):
                if learn.training and learn.step == step: raise KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt): make(CheckpointCB(path, every=1), Stop(), seed=0 if resume is None else 55, **how).fit(3, resume=resume)
        resume = path
    again = make(seed=66, **how)
    again.fit(3, resume=path)
    assert_same(whole, again)

def test_early_stopping_goes_on_waiting(tmp_path):
    "The best value and its weights are in the checkpoint."
    class Scores(Callback):
        order = -11 # before anyone asks
        def after_epoch(self, learn):
            if not learn.training: learn.metrics["score"] = [3., 1., 2., 2., 2., 2.][learn.epoch]
    class Stop(Callback):
        order = 500
        def after_batch(self, learn):
            if learn.step == 16: raise KeyboardInterrupt
    def cbs(): return [Scores(), EarlyStoppingCB(2, "score", best=min)]
    whole = make(*cbs(), n_epochs=6)
    whole.fit(6)
    assert whole.epoch == 3
    with pytest.raises(KeyboardInterrupt): make(*cbs(), CheckpointCB(tmp_path/"run", every=1), Stop(), n_epochs=6).fit(6)
    again = make(*cbs(), seed=5, n_epochs=6)
    again.fit(6, resume=tmp_path/"run")
    assert again.epoch == 3
    assert all(map(torch.equal, whole.model.state_dict().values(), again.model.state_dict().values()))

def test_what_others_do_at_the_end_of_a_batch_is_in_the_checkpoint(tmp_path):
    "A moving average that is told late, and random numbers that are drawn in a cleanup or just before a pass."
    class Average(Callback):
        order = 150
        def before_fit(self, learn): self.mean = torch.zeros(3)
        def before_epoch(self, learn): torch.rand(())
        def after_batch(self, learn):
            if learn.training: self.mean = 0.9*self.mean + 0.1*learn.model[4].bias.detach()
        def cleanup_batch(self, learn):
            random.random()
            torch.rand(())
        def state_dict(self): return dict(mean=self.mean)
        def load_state_dict(self, state): self.mean = state["mean"]
    whole = make(Average())
    whole.fit(3)
    for step in (1, 7, 10):
        class Stop(Callback):
            order = math.inf
            def cleanup_batch(self, learn):
                if learn.step == step: raise KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt): make(Average(), CheckpointCB(tmp_path/"run", every=1), Stop()).fit(3)
        assert mod._read(tmp_path/"run")["step"] == step
        again = make(Average(), seed=8)
        again.fit(3, resume=tmp_path/"run")
        assert_same(whole, again)
        assert torch.equal(whole.cbs[-1].mean, again.cbs[-1].mean)

def test_a_batch_that_was_cancelled_is_not_written(tmp_path):
    class Skip(Callback):
        def after_batch(self, learn):
            if learn.step == 4: raise CancelBatchException
    make(Skip(), CheckpointCB(tmp_path/"run", every=4)).fit(1)
    assert not (tmp_path/"run").exists()

def test_a_loader_with_workers_goes_on(tmp_path):
    whole = make(lib="torch", workers=2)
    whole.fit(3)
    interrupted(tmp_path/"run", 10, lib="torch", workers=2)
    again = make(lib="torch", workers=2, seed=4)
    again.fit(3, resume=tmp_path/"run")
    assert_same(whole, again)

def test_a_model_that_is_no_module_goes_on(tmp_path):
    class Bare:
        def __init__(self): self.w = torch.zeros(6, 3, requires_grad=True)
        def __call__(self, x): return x @ self.w
        def parameters(self): return [self.w]
    batches = [(X[i:i + 8], Y[i:i + 8]) for i in range(0, 48, 8)]
    def fit(n, *cbs, **how):
        learn = Learner(Bare(), SimpleNamespace(train=batches, valid=None), cross_entropy, cbs=cbs)
        learn.fit(n, **how)
        return learn.model.w
    whole = fit(2)
    fit(1, CheckpointCB(tmp_path, every=4)) # into a folder that is there
    assert torch.equal(fit(2, resume=tmp_path), whole)

def test_recorders_may_come_and_go(tmp_path):
    whole = make()
    whole.fit(3)
    interrupted(tmp_path/"run", 10)
    def again(*cbs):
        learn = make(*cbs, seed=4)
        learn.cbs = [o for o in learn.cbs if type(o) is not RecorderCB or o in cbs]
        learn.fit(3, resume=tmp_path/"run")
        assert all(map(torch.equal, state(whole), state(learn)))
        return cbs
    again()
    recorder, plot = again(RecorderCB(), PlotCB())
    assert (recorder.losses, recorder.epochs, recorder.first) == (whole.cbs[4].losses, whole.cbs[4].epochs, 0)
    assert (plot.losses, plot.lrs, plot.epochs, plot.first) == (whole.cbs[4].losses[10:], whole.cbs[4].lrs[10:], whole.cbs[4].epochs[1:], 10)
    training, validation = plot.plot().axes[0].lines
    assert [*training.get_xdata()] == [*range(10, 21)] and [*validation.get_xdata()] == [14, 21]
    interrupted(tmp_path/"run", 10)
    assert again(RecorderCB(), RecorderCB())[1].losses == whole.cbs[4].losses

def test_numpy_numbers_in_metrics_are_kept(tmp_path):
    class Scores(Callback):
        order = 5
        def after_epoch(self, learn): learn.metrics |= dict(a=np.float32(0.5), b=np.int64(3), c=np.bool_(True))
    make(Scores(), CheckpointCB(tmp_path/"run", every=9)).fit(3)
    kept = dict(mod._read(tmp_path/"run")["recorders"])["RecorderCB"]["epochs"][0]
    assert (kept["a"], kept["b"], kept["c"]) == (0.5, 3, True)

# ---- checkpoints that do not fit

@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")/"run"
    interrupted(path, 10)
    return path

def refused(path, learn, match="."):
    before = copy.deepcopy([*learn.model.state_dict().values()])
    with pytest.raises(ValueError, match=match): learn.fit(3, resume=path)
    assert all(map(torch.equal, before, learn.model.state_dict().values()))

@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.floats(0, 1), st.booleans(), st.integers(0, 7))
def test_damage_is_noticed(checkpoint, where, cut, bit):
    "Cut off anywhere, or one bit changed anywhere."
    data = bytearray(checkpoint.read_bytes())
    i = min(int(where*len(data)), len(data) - 1)
    if cut: data = data[:i]
    else: data[i] ^= 1 << bit
    bad = checkpoint.with_name("bad")
    bad.write_bytes(data)
    refused(bad, make())

def test_a_pickle_is_not_opened(tmp_path):
    class Trap:
        def __reduce__(self): return os._exit, (3,)
    torch.save(Trap(), tmp_path/"trap")
    refused(tmp_path/"trap", make(), "safetensors")

def test_other_files_are_refused(tmp_path, checkpoint):
    from safetensors.torch import save_file
    save_file({"a": torch.ones(2)}, tmp_path/"a")
    save_file({"a": torch.ones(2)}, tmp_path/"b", {"format": "pt"})
    (tmp_path/"c").write_bytes(b"")
    (tmp_path/"d").write_text("{}"*100)
    for o in "ab": refused(tmp_path/o, make(), "not a checkpoint")
    for o in "cd": refused(tmp_path/o, make(), "safetensors")
    with pytest.raises(FileNotFoundError): make().fit(3, resume=tmp_path/"e")

def test_other_runs_are_refused(checkpoint):
    learn = make()
    learn.model = Sequential(Linear(6, 12), BatchNorm1d(12), ReLU(), Dropout(0.3), Linear(12, 4))
    refused(checkpoint, learn, r"4\.weight.*\(3, 12\).*\(4, 12\)")
    learn.model = Sequential(Linear(6, 3))
    refused(checkpoint, learn, "another model")
    learn = make()
    learn.model.double()
    refused(checkpoint, learn, "float32.*float64")
    refused(checkpoint, make(opt=optim.Adam), "AdamW, and here Adam")
    refused(checkpoint, make(opt=lambda ps, lr: optim.AdamW([dict(params=[p]) for p in ps], lr)), "group")
    refused(checkpoint, make(EarlyStoppingCB(3)), "callbacks")
    learn = make()
    learn.dls.train = training.DataLoader(training.TensorDataset(X, Y), 10)
    refused(checkpoint, learn, "batches")
    refused(checkpoint, make(generator=True), "generators")
    learn = make()
    with pytest.raises(ValueError, match="would end before"): learn.fit(1, resume=checkpoint)
    with pytest.raises(ValueError, match="lr=0.5 and resume='run'"): learn.fit(3, lr=0.5, resume=checkpoint)

def test_a_loader_that_ends_early_leaves_the_model_alone(tmp_path, checkpoint):
    learn = make()
    real = learn.dls.train
    class Short:
        def __len__(self): return 7
        def __iter__(self): return itertools.islice(iter(real), 2)
    learn.dls.train = Short()
    refused(checkpoint, learn, "only 2")

@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                    lambda o: st.lists(o, max_size=3) | st.tuples(o, o) | st.dictionaries(st.text(max_size=3) | st.integers(), o, max_size=3), max_leaves=12))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_what_is_packed_comes_back(o):
    tensors = {}
    again = mod._unpack(json.loads(json.dumps(mod._pack(o, tensors, "a"))), tensors)
    assert repr(again) == repr(o) and not tensors

def test_tensors_come_back_as_they_were(tmp_path):
    ts = [torch.arange(6).view(2, 3).t(), torch.tensor(2.5), torch.zeros(0, 3), torch.tensor([True, False]), torch.randn(3).bfloat16(), torch.randn(2, dtype=torch.complex64)]
    mod._write(tmp_path/"t", {1: ts, "1": ts[::-1], "same": ts[0]})
    again = mod._read(tmp_path/"t")
    for a, b in zip([*ts, *ts[::-1], ts[0]], [*again[1], *again["1"], again["same"]], strict=True): assert a.dtype == b.dtype and torch.equal(a, b)
    with pytest.raises(TypeError, match=r"state\.f is a function"): mod._write(tmp_path/"t", {"f": accuracy})
    assert mod._read(tmp_path/"t")[1][1] == 2.5 # the one before is still there

# ---- events

def test_every_near_miss_is_refused():
    for event in EVENTS:
        typos = {event[:i] + event[i + 1:] for i in range(len(event))} | {event[:i] + event[i + 1] + event[i] + event[i + 2:] for i in range(len(event) - 1)}
        for typo in typos - {event, *EVENTS}:
            if typo.startswith("_"): continue
            cls = type("Typo", (Callback,), {typo: lambda self, learn: None})
            with pytest.raises(TypeError, match="is no event") as e: cls()
            assert f"mean {event}" in str(e.value) or typo.startswith(("before_", "after_", "cleanup_"))

@pytest.mark.parametrize("name", ["begin_fit", "on_batch_end", "on_train_epoch_start"])
def test_events_of_other_libraries_are_refused(name):
    with pytest.raises(TypeError, match=f"{name} is no event"): type("Typo", (Callback,), {name: lambda self, learn: None})()

def test_a_callback_added_to_later_is_seen():
    class Later(Callback): pass
    cb, said = Later(), []
    Later.after_step = lambda self, learn: said.append(learn.step)
    cb.after_fit = lambda learn: said.append("fit")
    learn = make(cb)
    learn.fit(1)
    assert said == [1, 2, 3, 4, 5, 6, 7, "fit"]

def test_all_are_tidied_up_though_one_fails():
    said = []
    class Fails(Callback):
        def cleanup_fit(self, learn): raise OSError("full")
        def cleanup_batch(self, learn): said.append("batch")
    class Tidy(Callback):
        order = 1
        def cleanup_fit(self, learn): said.append("fit")
    with pytest.raises(OSError, match="full"): make(Fails(), Tidy()).fit(1)
    assert said[-1] == "fit"

@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("event", [o for o in EVENTS if not o.startswith("cleanup")])
def test_an_error_anywhere_leaves_a_usable_learner(event, error):
    said = []
    class Fails(Callback):
        def cleanup_fit(self, learn): said.append("fit")
        def cleanup_epoch(self, learn): said.append("epoch")
        def cleanup_batch(self, learn): said.append("batch")
    cb = Fails()
    def fail(learn): raise error
    setattr(cb, event, fail)
    learn = make(cb, ActivationStatsCB())
    with pytest.raises(error): learn.fit(1)
    level = event.split("_")[1]
    assert said[-3:] == {"fit": ["fit"], "epoch": ["epoch", "fit"]}.get(level, ["batch", "epoch", "fit"])[-3:] or event in ("after_epoch", "after_fit")
    assert said[-1] == "fit" and torch.is_grad_enabled()
    assert not any(m._forward_hooks for m in learn.model.modules())
    del learn.cbs[:]
    learn.fit(1)

@pytest.mark.parametrize("event", EVENTS)
def test_cancelling_anywhere(event):
    "The stage that is named ends; the next begins."
    for exc, level in ((CancelBatchException, "batch"), (CancelEpochException, "epoch"), (CancelFitException, "fit")):
        inside = {"fit": ["fit"], "epoch": ["fit", "epoch"]}.get(event.split("_")[1], ["fit", "epoch", "batch"])
        said = []
        class Trace(Callback):
            order = -50
        cb = Trace()
        def say(o):
            def method(learn):
                said.append(o)
                if o == event: raise exc
            return method
        for o in EVENTS: setattr(cb, o, say(o))
        if level not in inside: # nobody there to catch it
            with pytest.raises(exc): make(cb).fit(1)
            continue
        make(cb).fit(1)
        if event in said: assert said[said.index(event) + 1:][:1] != [f"after_{level}"]
        assert said[-1] == "cleanup_fit" and ("after_fit" in said) == (level != "fit" or event in ("after_fit", "cleanup_fit"))

@pytest.mark.parametrize("level, cancel", dict(batch=CancelBatchException, epoch=CancelEpochException, fit=CancelFitException).items())
def test_cancelling_in_a_cleanup_hides_no_error(level, cancel):
    "All are tidied up, and an error that is under way, or comes from another cleanup, goes on."
    said = []
    class Late(Callback):
        order = 1
    def fails(learn): raise OSError("full")
    def cancels(learn): raise cancel
    for events in ([f"cleanup_{level}"], ["after_predict"]):
        first, late, last = Callback(), Late(), Late()
        for o in events: setattr(first, o, fails)
        setattr(late, f"cleanup_{level}", cancels)
        setattr(last, f"cleanup_{level}", lambda learn: said.append(level))
        with pytest.raises(OSError, match="full"): make(first, late, last).fit(1)
    assert said == [level]*2

def test_workers_end_though_the_traceback_is_kept():
    class Stop(Callback):
        def after_batch(self, learn): raise KeyboardInterrupt
    before = {o.pid for o in multiprocessing.active_children()}
    learn = make(Stop(), workers=2)
    with pytest.raises(KeyboardInterrupt) as kept: learn.fit(1)
    assert kept.traceback and {o.pid for o in multiprocessing.active_children()} <= before

def test_a_stream_is_not_closed():
    "A loader that is its own iterator goes on where a pass was left."
    batches = ((X[:8], Y[:8]) for _ in range(6))
    class Brief(Callback):
        def after_batch(self, learn):
            if learn.batch_idx == 1: raise CancelEpochException
    learn = Learner(torch.nn.Linear(6, 3), SimpleNamespace(train=batches, valid=None), cross_entropy, cbs=[Brief()])
    learn.fit(3)
    assert learn.step == 6

def test_stale_gradients_do_not_count():
    a = make()
    a.fit(1)
    b = make()
    for p in b.model.parameters(): p.grad = torch.full_like(p, 1e3)
    b.fit(1)
    class Half(Callback):
        def after_backward(self, learn):
            if learn.batch_idx == 3: raise CancelBatchException
    assert_same(a, b)
    c = make(Half())
    c.fit(1)
    d = make(Half(), type("Clear", (Callback,), dict(cleanup_batch=lambda self, learn: learn.opt.zero_grad()))())
    d.fit(1)
    assert c.step == 6
    assert_same(c, d)

# ---- numbers

@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 99))
def test_means_are_weighted(sizes, seed):
    x = torch.randn(sum(sizes), 6, generator=torch.Generator().manual_seed(seed))
    y = x[:, :3].argmax(1)
    batches = list(zip(x.split(sizes), y.split(sizes)))
    model = torch.nn.Linear(6, 3)
    learn = Learner(model, SimpleNamespace(train=batches[:1], valid=batches), cross_entropy, cbs=[MetricsCB(accuracy)])
    learn.fit(1, lr=0.)
    with torch.no_grad():
        assert learn.metrics["valid_loss"] == pytest.approx(torch.nn.functional.cross_entropy(model(x), y).item(), rel=1e-5)
        assert learn.metrics["accuracy"] == pytest.approx((model(x).argmax(1) == y).double().mean().item(), abs=1e-6)

@pytest.mark.parametrize("kind", ["dict", "tensor", "tuple of targets", "mapping"])
def test_batches_of_any_form(kind):
    "Means are weighted, and a tensor that is all of a batch is its own target."
    import collections
    xs = X.split([20, 20, 10])
    form = {"dict": lambda x: dict(x=x, y=x), "tensor": lambda x: x, "tuple of targets": lambda x: (x, (x, x)), "mapping": lambda x: collections.UserDict(x=x, y=x)}[kind]
    class Reads(Callback):
        def predict(self, learn): return learn.model(learn.batch if kind == "tensor" else learn.batch[0] if kind[0] == "t" else learn.batch["x"])
    def loss_func(preds, targ): return ((preds - (targ[0] if isinstance(targ, tuple) else targ))**2).mean()
    def shape(preds, targ): return torch.tensor(float((targ[0] if isinstance(targ, tuple) else targ).shape == preds.shape))
    batches, model = [form(x) for x in xs], torch.nn.Linear(6, 6)
    learn = Learner(model, SimpleNamespace(train=batches[:1], valid=batches), loss_func, cbs=[Reads(), MetricsCB(shape)])
    learn.fit(1, lr=0.)
    assert learn.metrics["valid_loss"] == pytest.approx(((model(X) - X)**2).mean().item(), rel=1e-5) and learn.metrics["shape"] == 1

class Elsewhere(torch.Tensor):
    "A tensor that says it is not on the CPU."
    is_cpu = False

def test_off_the_cpu_losses_are_read_together():
    "On a device that is not the CPU, numbers are looked at every 64 batches, and the first bad one is named."
    reads = []
    real = mod._floats
    def floats(values):
        if values: reads.append(len(values))
        return real(values)
    batches = [(torch.ones(2, 1), torch.ones(2, 1))]*150
    def loss_func(p, t): return (((p - t)**2).mean()*(math.nan if learn.step == 70 else 1)).as_subclass(Elsewhere)
    learn = Learner(torch.nn.Linear(1, 1), SimpleNamespace(train=batches, valid=None), loss_func, lr=0.01, cbs=[RecorderCB()])
    with mock.patch.object(mod, "_floats", floats):
        with pytest.raises(NonFiniteLossError, match="step 70, epoch 0, batch 70"): learn.fit(1)
        assert reads[:2] == [64, 64] and learn.step == 127
        learn.check_loss = False
        learn.fit(1)
    assert len(learn.cbs[0].losses) == 150 and math.isnan(learn.cbs[0].losses[71])

def test_a_bad_loss_on_the_cpu_stops_before_the_step():
    for bad in (math.nan, math.inf, -math.inf):
        learn = make()
        learn.loss_func = lambda p, t: cross_entropy(p, t)*(bad if learn.step == 9 and learn.training else 1)
        with pytest.raises(ValueError, match=r"step 9, epoch 1, batch 2.*ClipGradCB"): learn.fit(3)
        assert all(p.isfinite().all() for p in learn.model.parameters()) and learn.step == 9

def test_no_checkpoint_is_written_after_a_bad_loss(tmp_path):
    learn = make(CheckpointCB(tmp_path/"run", every=4))
    learn.loss_func = lambda p, t: (cross_entropy(p, t)*(math.nan if learn.step == 6 and learn.training else 1)).as_subclass(Elsewhere)
    with pytest.raises(NonFiniteLossError, match="step 6, epoch 0, batch 6"): learn.fit(3)
    assert mod._read(tmp_path/"run")["step"] == 4

@pytest.mark.parametrize("max_norm", [1e-3, 0.5, 100.])
def test_clipping_is_pytorchs(max_norm):
    torch.manual_seed(3)
    ours = [torch.randn(s, requires_grad=True) for s in ((3, 4), (5,), ())]
    for p in ours[:2]: p.grad = torch.randn(p.shape)
    theirs = copy.deepcopy(ours)
    for p, q in zip(ours, theirs): q.grad = None if p.grad is None else p.grad.clone()
    ClipGradCB(max_norm).after_backward(SimpleNamespace(opt=optim.SGD(ours)))
    torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    for p, q in zip(ours, theirs): assert p.grad is q.grad is None or torch.equal(p.grad, q.grad)

def test_the_finder_leaves_no_trace():
    learn = make()
    kept = copy.deepcopy(learn.model.state_dict())
    for opt in (optim.Adam, torch.optim.SGD):
        finder = LRFinderCB(n_steps=10, worse=math.inf)
        Learner(learn.model, learn.dls, cross_entropy, 0.3, [finder], opt).fit(3)
        assert len(finder.losses) == 10 and np.allclose(finder.lrs, np.geomspace(1e-5, 10, 10))
        assert all(map(torch.equal, kept.values(), learn.model.state_dict().values()))

@pytest.mark.parametrize("work, error, match", [
    (lambda: make().fit("2"), TypeError, "n_epochs must be a whole number, 0 or more, got '2'"),
    (lambda: make().fit(None), TypeError, "got None"),
    (lambda: make().fit(-1), ValueError, "got -1"),
    (lambda: CheckpointCB("run", every="x"), TypeError, "every must be a whole number, 1 or more, got 'x'"),
    (lambda: CheckpointCB("run", every=0), ValueError, "got 0"),
    (lambda: EarlyStoppingCB(1.5), TypeError, "patience must be a whole number, 1 or more, got 1.5"),
    (lambda: EarlyStoppingCB(0), ValueError, "got 0"),
    (lambda: EarlyStoppingCB(2, "f1"), ValueError, "'f1' better"),
    (lambda: EarlyStoppingCB(2, "accuracy_loss"), ValueError, "best=min or best=max"),
    (lambda: EarlyStoppingCB(2, "f1", best="max"), ValueError, "got 'max'"),
    (lambda: MetricsCB([accuracy]), TypeError, "function"),
    (lambda: MetricsCB(a={}), TypeError, "got {}"),
    (lambda: DeviceCB("cpu").before_fit(SimpleNamespace(model=len)), TypeError, "no method to"),
    (lambda: LRFinderCB().suggestion(), ValueError, "fit first"),
    (lambda: LRFinderCB().plot(), ValueError, "fit first"),
    (lambda: ActivationStatsCB().plot(), ValueError, "fit first"),
    (lambda: ActivationStatsCB().plot_hist(), ValueError, "fit first")])
def test_what_can_not_work_is_refused(work, error, match):
    with pytest.raises(error, match=match): work()

def test_the_better_direction_is_known_or_asked_for():
    for k in ("valid_loss", "train_loss", "error_rate", "wer_err", "mse", "MAE", "rmse"): assert EarlyStoppingCB(2, k).best is min
    assert EarlyStoppingCB(2, "top5_accuracy").best is max
    assert (EarlyStoppingCB(2, "f1", best=max).best, EarlyStoppingCB(2, "accuracy", best=min).best) == (max, min)

def test_a_layer_may_give_one_number():
    class Mean(torch.nn.Module):
        def forward(self, x): return x.mean()
    batches, watch = [(torch.ones(2, 1), torch.tensor(1.))]*3, ActivationStatsCB()
    Learner(torch.nn.Sequential(torch.nn.Linear(1, 1), Mean()), SimpleNamespace(train=batches, valid=None), lambda p, t: (p - t)**2, cbs=[watch]).fit(1)
    assert watch.means["1 Mean"].shape == (3,) and watch.plot_hist()

def test_float16_scales_and_skips():
    "The scaler's part, on the CPU, where only the scaling is asked of it."
    cb = MixedPrecisionCB(torch.float16)
    def before_fit(learn): cb.device, cb._cast, cb.scaler = "cpu", None, torch.amp.GradScaler("cpu", init_scale=2.**12)
    cb.before_fit, cb.before_batch = before_fit, lambda learn: None
    norms = []
    class Look(Callback):
        def after_backward(self, learn): norms.append(torch.stack([p.grad.norm() for p in learn.model.parameters()]).norm().item())
    for opt in (optim.SGD, torch.optim.SGD):
        plain = make(opt=opt)
        plain.cbs = [Look()]
        plain.fit(1)
        scaled = make(opt=opt)
        scaled.cbs = [Look(), cb]
        scaled.fit(1)
        assert np.allclose(norms[:7], norms[7:14], rtol=1e-4)
        for p, q in zip(plain.model.parameters(), scaled.model.parameters()): assert torch.allclose(p, q, atol=1e-4)
        norms.clear()

# ---- what is shown

class Tty(io.StringIO):
    def isatty(self): return True

def shown(stdout, stderr, *cbs):
    with mock.patch("sys.stdout", stdout), mock.patch("sys.stderr", stderr): make(*cbs).fit(2)
    return stdout.getvalue(), stderr.getvalue()

def test_a_log_has_a_line_for_each_epoch():
    out, err = shown(io.StringIO(), io.StringIO(), ProgressCB(), PlotCB())
    assert err == "" and "\r" not in out and "|" not in out
    *lines, plot = out.splitlines()
    assert [re.match(r"epoch (\d)   train_loss [\d.]+   valid_loss [\d.]+   accuracy [\d.]+   [\d.]+ s$", o)[1] for o in lines] == ["0", "1"]
    assert re.match(r"loss [\d.]+ [▁-█]+ [\d.]+$", plot)

@pytest.mark.parametrize("encoding, blocks", [("utf-8", "[▁-█]+"), ("cp1252", r"[.:\-=+*#%]+"), ("ascii", r"[.:\-=+*#%]+")])
def test_a_log_may_know_no_blocks(encoding, blocks):
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    with mock.patch("sys.stdout", out): make(PlotCB()).fit(1)
    out.seek(0)
    assert re.fullmatch(rf"loss [\d.]+ {blocks} [\d.]+\s+", out.read())

def test_a_line_of_blocks_for_losses_that_are_no_numbers():
    assert mod._sparkline([1., math.nan, 2., math.inf]) == "1.0000 ▁?█? inf"
    assert mod._sparkline([math.nan]*2) == "nan ?? nan" and mod._sparkline([1., 1.]) == "1.0000 ▁▁ 1.0000" and mod._sparkline([]) == ""

@pytest.mark.parametrize("lib", ["ours", "torch"])
def test_a_loader_that_does_not_know_its_length(lib, tmp_path):
    "It has a len that raises."
    class Sampler:
        def __iter__(self): return iter(range(50))
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self): return iter(zip(X, Y))
    learn = make(ProgressCB(every=0.), CheckpointCB(tmp_path/"run", every=5))
    learn.dls.train = training.DataLoader(training.TensorDataset(X, Y), 8, sampler=Sampler()) if lib == "ours" else torch.utils.data.DataLoader(Stream(), 8)
    with pytest.raises(TypeError): len(learn.dls.train)
    out, err = Tty(), Tty()
    with mock.patch("sys.stdout", out), mock.patch("sys.stderr", err): learn.fit(1)
    assert "7it" in err.getvalue() and mod._read(tmp_path/"run")["n_batches"] is None

def test_a_terminal_has_a_bar_too():
    out, err = shown(Tty(), Tty(), ProgressCB(every=0.))
    assert len(re.findall("epoch \\d   train", out)) == 2
    assert "7/7" in err and "validation" in err and "loss " in err

class FakeNotebook:
    "IPython as far as it is asked for: what is displayed, and what replaces it."
    def __init__(self): self.outputs = []
    def display(self, o, display_id):
        self.outputs.append([o._repr_png_() if hasattr(o, "_repr_png_") else o._repr_html_()])
        mine = self.outputs[-1]
        return SimpleNamespace(update=lambda o: mine.append(o._repr_png_() if hasattr(o, "_repr_png_") else o._repr_html_()))

def test_a_notebook_keeps_a_table_and_a_figure():
    book = FakeNotebook()
    with mock.patch.object(mod, "_display", lambda: book.display):
        learn = make(ProgressCB(every=0.), PlotCB(), MetricsCB(**{"<b>": accuracy}))
        out, err = io.StringIO(), io.StringIO()
        with mock.patch("sys.stdout", out), mock.patch("sys.stderr", err): learn.fit(2)
    assert out.getvalue() == err.getvalue() == ""
    table, figure = sorted(book.outputs, key=lambda o: isinstance(o[-1], bytes))
    assert any("%|" in o for o in table) and "%|" not in table[-1] and table[-1].count("<tr>") == 3 and "&lt;b&gt;" in table[-1]
    assert figure[-1].startswith(b"\x89PNG")

def test_nothing_is_shown_that_differs_between_runs():
    ends = []
    for _ in range(2):
        book = FakeNotebook()
        with mock.patch.object(mod, "_display", lambda: book.display): make(ProgressCB(), PlotCB()).fit(2)
        ends.append([o[-1] for o in book.outputs])
    assert ends[0] == ends[1]
