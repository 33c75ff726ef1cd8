"""Answers to the exercises of 08 · Losses."""
import math
import torch
from bank import right, wrong

# log_sum_exp

@right
def log_sum_exp(xs):
    total = -math.inf # one number after the other, and never more than one exponential
    for o in xs:
        high, low = max(total, o), min(total, o)
        total = high if low == -math.inf else high + math.log1p(math.exp(low - high))
    return total

@right
def log_sum_exp(xs): return torch.tensor(xs, dtype=torch.float64).logsumexp(0).item()

@wrong("nothing is taken out, and it overflows")
def log_sum_exp(xs):
    total = 0.
    for o in xs: total += math.exp(o)
    return math.log(total)

@wrong("the maximum is not added back")
def log_sum_exp(xs):
    xs = sorted(xs, reverse=True)
    return math.log(sum(math.e**(o - xs[0]) for o in xs))

@wrong("the first number is taken out")
def log_sum_exp(xs):
    first, *rest = xs
    return first + math.log(1 + sum(math.exp(o - first) for o in rest)) if first > -math.inf else first + math.log(sum(math.exp(o - first) for o in xs))

@wrong("the mean is taken in place of the sum")
def log_sum_exp(xs):
    m = max(xs)
    return m + math.log(sum(math.exp(o - m) for o in xs)/len(xs))

@wrong("the largest absolute value is taken out")
def log_sum_exp(xs):
    m = max(abs(o) for o in xs)
    return math.log(sum(math.exp(o - m) for o in xs)) + m

@wrong("the maximum is returned")
def log_sum_exp(xs): return sorted(xs)[-1]

@wrong("the numbers are added")
def log_sum_exp(xs): return math.fsum(xs)

@wrong("it changes its argument")
def log_sum_exp(xs):
    m = max(xs)
    for i in range(len(xs)): xs[i] = math.exp(xs[i] - m)
    return m + math.log(sum(xs))

# pick_targets

@right
def pick_targets(logp, targ):
    some = targ != -1
    return torch.where(some, logp.gather(1, targ.where(some, 0)[:, None]).squeeze(1), 0)

@right
def pick_targets(logp, targ):
    wanted = targ[:, None] == torch.arange(logp.shape[1]) # a row of False for -1
    return logp.masked_fill(~wanted, 0).sum(1)

@right
def pick_targets(logp, targ):
    out = torch.zeros(len(targ), dtype=logp.dtype)
    for i, t in enumerate(targ.tolist()):
        if t >= 0: out[i] = logp[i, t]
    return out

@wrong("the last class is taken for no target")
def pick_targets(logp, targ): return logp[torch.arange(len(logp)), targ]

@wrong("the first class is taken for no target")
def pick_targets(logp, targ): return logp[range(len(logp)), torch.where(targ < 0, 0, targ)]

@wrong("items without a target are left out")
def pick_targets(logp, targ):
    rows = torch.nonzero(targ >= 0)[:, 0]
    return logp[rows, targ[rows]]

@wrong("every row meets every target")
def pick_targets(logp, targ): return torch.stack([row[targ] for row in logp]) if len(logp) else logp[:, targ]

@wrong("targets are taken for rows")
def pick_targets(logp, targ): return logp[targ.long()]

@wrong("an axis of size 1 is left")
def pick_targets(logp, targ): return torch.where(targ < 0, 0, logp[torch.arange(len(logp)), targ])[:, None]

@wrong("the largest is picked, not the target")
def pick_targets(logp, targ): return logp.max(dim=1).values

@wrong("the signs are turned")
def pick_targets(logp, targ): return torch.where(targ < 0, 0, -logp[range(len(targ)), targ])

# weighted_nll

@right
def weighted_nll(logp, targ, weight):
    q = torch.nn.functional.one_hot(targ, logp.shape[1]).to(logp.dtype)*weight
    return -(q*logp).sum()/q.sum()

@right
def weighted_nll(logp, targ, weight):
    top = sum(-logp[i, t]*weight[t] for i, t in enumerate(targ.tolist()))
    return top/sum(weight[t] for t in targ.tolist())

@wrong("it is divided by the number of items")
def weighted_nll(logp, targ, weight): return -(logp[range(len(targ)), targ]*weight[targ]).sum()/len(targ)

@wrong("it is divided by the sum of all weights")
def weighted_nll(logp, targ, weight):
    weight = weight/weight.sum()
    return -(logp[range(len(targ)), targ]*weight[targ]).sum()

@wrong("the weights are left out")
def weighted_nll(logp, targ, weight): return -logp[range(len(targ)), targ].sum()/len(targ)

@wrong("it is not divided at all")
def weighted_nll(logp, targ, weight): return -((logp*weight)[range(len(targ)), targ]).sum()

@wrong("a column is multiplied by a row")
def weighted_nll(logp, targ, weight):
    w = weight[targ]
    return -(w*logp.gather(1, targ[:, None])).sum()/w.sum()

@wrong("the sign is missing")
def weighted_nll(logp, targ, weight): return (logp[range(len(targ)), targ]*weight[targ]).sum()/weight[targ].sum()

# cross_entropy_grad

@right
def cross_entropy_grad(x, q): return (x.softmax(1)*q.sum(1)[:, None] - q)/len(x)

@right
def cross_entropy_grad(x, q):
    rows = []
    for row, wanted in zip(x, q):
        p = (row - row.logsumexp(0)).exp()
        rows.append(sum(w*(p - torch.eye(len(p), dtype=p.dtype)[j]) for j, w in enumerate(wanted))) # one class after another
    return torch.stack(rows)/len(rows)

@wrong("the rows of q are taken to sum to 1")
def cross_entropy_grad(x, q): return (x.softmax(1) - q)/x.shape[0]

@wrong("it is not divided by the number of items")
def cross_entropy_grad(x, q): return torch.einsum("nc,nk->nc", x.softmax(1), q) - q

@wrong("it is divided by the sum of q")
def cross_entropy_grad(x, q):
    g = x.softmax(1)*q.sum(1, keepdim=True) - q
    return g/q.sum()

@wrong("the sign is turned")
def cross_entropy_grad(x, q): return (q - q.sum(1)[:, None]*x.softmax(-1)).div(len(x))

@wrong("what is wanted is left out")
def cross_entropy_grad(x, q): return x.log_softmax(1).exp()*q.sum(1)[:, None]/x.shape[0]

@wrong("the softmax goes down the columns")
def cross_entropy_grad(x, q): return (x.softmax(0)*q.sum(1)[:, None] - q)/len(x)

@wrong("the exponentials overflow")
def cross_entropy_grad(x, q):
    g = torch.exp(x)
    g = g/g.sum(1)[:, None]*q.sum(1)[:, None] - q
    return g/len(x)

@wrong("one maximum is taken out of all rows")
def cross_entropy_grad(x, q):
    e = torch.exp(x - torch.amax(x))
    p = e/e.sum(1)[:, None]
    return (p*q.sum(1)[:, None] - q)/len(x)

@wrong("it is divided by the number of elements")
def cross_entropy_grad(x, q): return (x.softmax(1)*q.sum(1)[:, None] - q).div(x.shape[0]*x.shape[1])

@wrong("it changes its argument")
def cross_entropy_grad(x, q):
    x -= x.max(1, keepdim=True).values
    x.exp_()
    x /= x.sum(1, keepdim=True)
    return (x*q.sum(1, keepdim=True) - q)/len(x)

# binary_loss

@right
def binary_loss(x, t): return ((1 - t)*x + torch.logaddexp(torch.zeros_like(x), -x)).mean()

@right
def binary_loss(x, t):
    wrong_way = torch.where(x < 0, x.exp().log1p() - x, (-x).exp().log1p())
    return (x - t*x + wrong_way).sum()/len(x)

@wrong("1 + y is rounded")
def binary_loss(x, t): return ((1 - t)*x + torch.stack([torch.zeros_like(x), -x]).logsumexp(0)).mean()

@wrong("it goes through the sigmoid, and rounds")
def binary_loss(x, t):
    p = torch.sigmoid(x)
    return -(t*torch.log(p) + (1 - t)*torch.log(1 - p)).sum()/len(x)

@wrong("the probability is kept away from 0 and 1")
def binary_loss(x, t):
    p = torch.sigmoid(x).clamp(min=1e-7, max=1 - 1e-7)
    return torch.nn.functional.binary_cross_entropy(p, t)

@wrong("the exponential overflows")
def binary_loss(x, t): return (torch.log(1 + torch.exp(-x)) + x - t*x).mean()

@wrong("only the targets that are yes count")
def binary_loss(x, t): return -(t*torch.nn.functional.logsigmoid(x)).sum()/len(x)

@wrong("yes and no are exchanged")
def binary_loss(x, t): return torch.nn.functional.binary_cross_entropy_with_logits(-x, t)

@wrong("it is a sum, not a mean")
def binary_loss(x, t): return torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="sum")

@wrong("one loss for each item is returned")
def binary_loss(x, t): return torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none")

@wrong("the sign is turned")
def binary_loss(x, t): return -torch.nn.functional.binary_cross_entropy_with_logits(x, t)
