"""Answers to the exercises of 11 · Learner."""
import math
import numpy as np
import torch
from bank import right, wrong

# pass_events

@right
def pass_events(n_batches, training, step):
    out = [("before_epoch", step)]
    for i in range(n_batches):
        before = step + i if training else step
        after = before + 1 if training else step
        out += zip(["before_batch", "after_predict", "after_loss"], [before]*3)
        if training: out += [("after_backward", before), ("after_step", after)]
        out += [("after_batch", after), ("cleanup_batch", after)]
    end = out[-1][1]
    return out + [("after_epoch", end), ("cleanup_epoch", end)]

@right
def pass_events(n_batches, training, step):
    names = "before_batch after_predict after_loss after_backward after_step after_batch cleanup_batch".split()
    if not training: del names[3:5]
    names, out = ["before_epoch"] + names*n_batches + ["after_epoch", "cleanup_epoch"], []
    for i, o in enumerate(names): out.append((o, step + names[:i + 1].count("after_step")))
    return out

def _numbered(names, step, counts="after_step"): return [(o, step + names[:i + 1].count(counts)) for i, o in enumerate(names)]

@wrong("a validation batch learns")
def pass_events(n_batches, training, step):
    names = "before_batch after_predict after_loss after_backward after_step after_batch cleanup_batch".split()
    return _numbered(["before_epoch"] + names*n_batches + ["after_epoch", "cleanup_epoch"], step)

@wrong("no batch is tidied up")
def pass_events(n_batches, training, step):
    names = ["before_epoch"]
    for _ in range(n_batches):
        names += ["before_batch", "after_predict", "after_loss"]
        if training: names += ["after_backward", "after_step"]
        names.append("after_batch")
    return _numbered(names + ["after_epoch", "cleanup_epoch"], step)

@wrong("the pass is not tidied up")
def pass_events(n_batches, training, step):
    names = "before_batch after_predict after_loss after_backward after_step after_batch cleanup_batch".split()
    if not training: del names[3:5]
    return _numbered(["before_epoch"] + names*n_batches + ["after_epoch"], step)

@wrong("the step is counted too late")
def pass_events(n_batches, training, step):
    names = "before_batch after_predict after_loss after_backward after_step after_batch cleanup_batch".split()
    if not training: del names[3:5]
    return _numbered(["before_epoch"] + names*n_batches + ["after_epoch", "cleanup_epoch"], step, "after_batch" if training else "")

@wrong("the step stays what it was")
def pass_events(n_batches, training, step):
    names = "before_batch after_predict after_loss after_backward after_step after_batch cleanup_batch".split()
    if not training: del names[3:5]
    return [(o, step) for o in ["before_epoch"] + names*n_batches + ["after_epoch", "cleanup_epoch"]]

# stop_after

@right
def stop_after(values, patience):
    lowest, at, waited = math.inf, 0, 0
    for n, value in enumerate(values, 1):
        if value < lowest: lowest, at, waited = value, n - 1, 0
        else: waited += 1
        if waited == patience: return n, at
    return len(values), at

@right
def stop_after(values, patience):
    best = [int(np.argmin(values[:i + 1])) for i in range(len(values))]
    n = next((i + 1 for i, b in enumerate(best) if i - b == patience), len(values))
    return n, best[n - 1]

@wrong("one epoch too many")
def stop_after(values, patience):
    lowest, at, waited = math.inf, 0, 0
    for n, value in enumerate(values, 1):
        if value < lowest: lowest, at, waited = value, n - 1, 0
        else: waited += 1
        if waited > patience: return n, at
    return len(values), at

@wrong("epochs that are worse are counted over the whole run")
def stop_after(values, patience):
    lowest, at, left = math.inf, 0, patience
    for n, value in enumerate(values, 1):
        if value < lowest: lowest, at = value, n - 1
        else: left -= 1
        if left == 0: return n, at
    return len(values), at

@wrong("equal counts as better")
def stop_after(values, patience):
    lowest, at = math.inf, 0
    for i, value in enumerate(values):
        if not value > lowest: lowest, at = value, i
        if i - at == patience: return i + 1, at
    return len(values), at

@wrong("the best of the whole list")
def stop_after(values, patience):
    at = int(np.argmin(values))
    lowest, waited = math.inf, 0
    for n, value in enumerate(values, 1):
        lowest, waited = (value, 0) if value < lowest else (lowest, waited + 1)
        if waited == patience: break
    return n, at

@wrong("the epoch at which patience ends is not counted")
def stop_after(values, patience):
    lowest, at, waited = values[0], 0, 0
    for i in range(1, len(values)):
        if values[i] < lowest: lowest, at, waited = values[i], i, 0
        else: waited += 1
        if waited == patience: return i, at
    return len(values), at

@wrong("the index of the last epoch, and not how many there were")
def stop_after(values, patience):
    at = 0
    for i in range(len(values)):
        if values[i] < values[at]: at = i
        if i == at + patience: break
    return i, at

# finder_lrs

@right
def finder_lrs(start, end, n): return np.geomspace(start, end, n).tolist()

@right
def finder_lrs(start, end, n):
    a, b = math.log(start), math.log(end)
    return [math.exp(a + (b - a)*t/(n - 1)) for t in range(n)]

@wrong("equal differences")
def finder_lrs(start, end, n): return np.linspace(start, end, n).tolist()

@wrong("the end is never reached")
def finder_lrs(start, end, n):
    out, factor = [start], (end/start)**(1/n)
    while len(out) < n: out.append(out[-1]*factor)
    return out

@wrong("the start is missing")
def finder_lrs(start, end, n):
    out, factor, lr = [], (end/start)**(1/n), start
    for _ in range(n):
        lr *= factor
        out.append(lr)
    return out

@wrong("from the end to the start")
def finder_lrs(start, end, n): return np.geomspace(end, start, n).tolist()

# dead_units

@right
def dead_units(out):
    axes = [0, *range(2, out.ndim)]
    return 1 - (out.abs().amax(axes) > 0).float().mean()

@right
def dead_units(out):
    flat = out.movedim(1, -1).reshape(-1, out.shape[1])
    return (flat.count_nonzero(0) == 0).sum()/out.shape[1]

@wrong("the part of the numbers that are 0")
def dead_units(out): return 1 - out.count_nonzero()/out.numel()

@wrong("items in place of units")
def dead_units(out): return (out.reshape(len(out), -1).count_nonzero(1) == 0).float().mean()

@wrong("values below 0 count as dead")
def dead_units(out): return (out.amax([0, *range(2, out.ndim)]) <= 0).float().mean()

@wrong("values are added up")
def dead_units(out): return (out.sum([0, *range(2, out.ndim)]) == 0).float().mean()

@wrong("every place of a channel counts as a unit")
def dead_units(out): return (out.count_nonzero(0) == 0).float().mean()

@wrong("the part that is alive")
def dead_units(out): return (out.abs().amax([0, *range(2, out.ndim)]) > 0).float().mean()

# first_bad

@right
def first_bad(losses):
    for i in range(len(losses)):
        if losses[i] - losses[i] != 0: return i # inf - inf and nan - nan are nan

@right
def first_bad(losses):
    bad = ~np.isfinite(np.array(losses, dtype=float))
    return int(bad.argmax()) if bad.any() else None

@wrong("large numbers become infinite in float32")
def first_bad(losses):
    bad = (~torch.tensor(losses).isfinite()).nonzero()
    return bad[0].item() if len(bad) else None

@wrong("infinity passes")
def first_bad(losses):
    for i, o in enumerate(losses):
        if o != o: return i

@wrong("nan passes")
def first_bad(losses):
    for i, o in enumerate(losses):
        if abs(o) == math.inf: return i

@wrong("minus infinity passes")
def first_bad(losses):
    for i, o in enumerate(losses):
        if not o < math.inf: return i

@wrong("counted from 1")
def first_bad(losses):
    for n, o in enumerate(losses, 1):
        if not math.isfinite(o): return n

@wrong("-1 where there is none")
def first_bad(losses):
    bad = [i for i, o in enumerate(losses) if not math.isfinite(o)]
    return bad[0] if bad else -1

@wrong("the last bad one")
def first_bad(losses):
    found = None
    for i, o in enumerate(losses):
        if not math.isfinite(o): found = i
    return found
