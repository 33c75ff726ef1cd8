"""Answers to the exercises of 02 · Broadcasting."""
import torch
from bank import right, wrong

# center_rows

@right
def center_rows(x): return (x.t() - x.t().mean(0)).t()

@right
def center_rows(x): return x - torch.einsum("nd->n", x)[:, None]/x.shape[1]

@wrong("each column is centred")
def center_rows(x): return x - x.mean(dim=0, keepdim=True)

@wrong("the mean of everything is subtracted")
def center_rows(x): return x - x.sum()/x.numel()

@wrong("the row means meet the columns")
def center_rows(x): return x - x.sum(-1)/x.shape[1]

@wrong("the rows are also scaled")
def center_rows(x):
    c = x - x.mean(1, keepdim=True)
    return c/c.std(1, keepdim=True)

@wrong("it changes its argument")
def center_rows(x):
    x -= x.mean(1, keepdim=True)
    return x

# fits

@right
def fits(a, b):
    n = max(len(a), len(b))
    a, b = (1,)*(n - len(a)) + tuple(a), (1,)*(n - len(b)) + tuple(b)
    for i in range(n):
        if a[i] != b[i] and a[i] != 1 and b[i] != 1: return False
    return True

@wrong("aligned at the left")
def fits(a, b): return not any(m != n and m != 1 and n != 1 for m, n in zip(a, b))

@wrong("only equal shapes fit")
def fits(a, b): return tuple(a) == tuple(b)

@wrong("a 1 does not stretch")
def fits(a, b): return not any(m != n for m, n in zip(a[::-1], b[::-1]))

@wrong("a different number of axes is refused")
def fits(a, b):
    if len(a) != len(b): return False
    return all(m == n or m == 1 or n == 1 for m, n in zip(a, b))

@wrong("0 is taken for a size that stretches")
def fits(a, b): return all(m == n or min(m, n) < 2 for m, n in zip(a[::-1], b[::-1]))

# squared_distances

@right
def squared_distances(a, b):
    out = a.new_zeros(len(a), len(b))
    for k in range(a.shape[1]): out += (a[:, k, None] - b[:, k])**2
    return out

@right
def squared_distances(a, b):
    d = a.unsqueeze(1) - b.unsqueeze(0)
    return torch.einsum("nmd,nmd->nm", d, d)

@wrong("the result is transposed")
def squared_distances(a, b): return ((a[None] - b[:, None])**2).sum(2)

@wrong("the distance itself, not its square")
def squared_distances(a, b): return (((a[:, None] - b[None])**2).sum(2))**0.5

@wrong("differences are summed before they are squared")
def squared_distances(a, b): return (a.sum(1)[:, None] - b.sum(1))**2

@wrong("only points at the same place in both meet")
def squared_distances(a, b): return ((a - b)**2).sum(1)

# strides

@right
def strides(shape):
    out = ()
    for i in range(len(shape)):
        step = 1
        for n in shape[i + 1:]: step = step*n
        out += (step,)
    return out

@wrong("the first axis lies closest together")
def strides(shape):
    out, step = [], 1
    for n in shape:
        out.append(step)
        step *= n
    return tuple(out)

@wrong("the order is reversed")
def strides(shape):
    out, step = [], 1
    for n in shape[::-1]:
        out.append(step)
        step *= n
    return tuple(out)

@wrong("an axis's own size is counted in")
def strides(shape):
    out, step = [], 1
    for n in shape[::-1]:
        step *= n
        out.append(step)
    return tuple(out[::-1])

@wrong("the sizes themselves are returned")
def strides(shape): return (*shape[1:], 1) if shape else ()

# traces

@right
def traces(x): return (x*torch.eye(x.shape[-1], dtype=x.dtype)).sum((1, 2))

@right
def traces(x): return torch.stack([m.trace() for m in x]) if len(x) else x.new_zeros(0)

@wrong("all traces are summed")
def traces(x): return x.diagonal(0, 1, 2).sum()

@wrong("the diagonals are not summed")
def traces(x): return torch.diagonal(x, dim1=1, dim2=2)

@wrong("every element is summed")
def traces(x): return x.sum((1, 2))

@wrong("the matrices are summed, not the diagonals")
def traces(x): return x.sum(0).diagonal()
