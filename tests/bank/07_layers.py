"""Answers to the exercises of 07 · Layers."""
import math
import torch
from bank import right, wrong

# linear_start

@right
def linear_start(n_in, n_out, bias, seed):
    g = torch.Generator()
    g.manual_seed(seed)
    layer = torch.nn.Linear(n_in, n_out, bias=bias)
    out = [layer.weight.detach().uniform_(-1/math.sqrt(n_in), 1/math.sqrt(n_in), generator=g), None]
    if bias: out[1] = layer.bias.detach().uniform_(-1/math.sqrt(n_in), 1/math.sqrt(n_in), generator=g)
    return out

@right
def linear_start(n_in, n_out, bias, seed):
    g, end = torch.Generator().manual_seed(seed), n_in**-0.5
    w = torch.zeros(n_out, n_in).uniform_(-end, end, generator=g)
    b = torch.zeros(n_out).uniform_(-end, end, generator=g)
    return (w, b if bias else None)

@wrong("the weights are transposed")
def linear_start(n_in, n_out, bias, seed):
    g, k = torch.Generator().manual_seed(seed), 1/math.sqrt(n_in)
    w = torch.empty(n_in, n_out).uniform_(-k, k, generator=g)
    return [w, torch.empty(n_out).uniform_(-k, k, generator=g) if bias else None]

@wrong("the bound comes from the outputs")
def linear_start(n_in, n_out, bias, seed):
    g, k = torch.Generator().manual_seed(seed), math.sqrt(1/n_out)
    w = torch.empty((n_out, n_in)).uniform_(-k, k, generator=g)
    return [w, torch.empty((n_out,)).uniform_(-k, k, generator=g) if bias else None]

@wrong("the bias starts at 0")
def linear_start(n_in, n_out, bias, seed):
    k = n_in**-0.5
    w = torch.empty(n_out, n_in).uniform_(-k, k, generator=torch.Generator().manual_seed(seed))
    return [w, w.new_zeros(n_out) if bias else None]

@wrong("the numbers are normally distributed")
def linear_start(n_in, n_out, bias, seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n_out, n_in, generator=g)*n_in**-0.5, torch.randn(n_out, generator=g)*n_in**-0.5 if bias else None]

@wrong("weights and bias begin with the same random numbers")
def linear_start(n_in, n_out, bias, seed):
    def draw(*shape): return torch.empty(shape).uniform_(-n_in**-0.5, n_in**-0.5, generator=torch.Generator().manual_seed(seed))
    return [draw(n_out, n_in), draw(n_out) if bias else None]

@wrong("there is a bias where none is wanted")
def linear_start(n_in, n_out, bias, seed):
    g, k = torch.Generator().manual_seed(seed), n_in**-0.5
    return [torch.empty(o).uniform_(-k, k, generator=g) for o in ((n_out, n_in), (n_out,))]

@wrong("there is no second element where no bias is wanted")
def linear_start(n_in, n_out, bias, seed):
    g, k = torch.Generator().manual_seed(seed), 1/math.sqrt(n_in)
    out = [torch.empty(n_out, n_in).uniform_(-k, k, generator=g)]
    if bias: out.append(torch.empty(n_out).uniform_(-k, k, generator=g))
    return out

# windows_along

@right
def windows_along(size, ks, stride, padding, dilation):
    n, end = 0, dilation*(ks - 1)
    while n*stride + end < size + 2*padding: n += 1
    return n

@right
def windows_along(size, ks, stride, padding, dilation):
    reach = (ks - 1)*dilation + 1
    return len(range(0, size + padding*2 - reach + 1, stride))

@wrong("one window is missing")
def windows_along(size, ks, stride, padding, dilation):
    return len(range(0, size + padding*2 - (ks - 1)*dilation - 1, stride)) if stride == 1 else max(0, (size + 2*padding - (ks - 1)*dilation - 1)//stride)

@wrong("padding is counted on one side only")
def windows_along(size, ks, stride, padding, dilation):
    return len(range(0, size + padding - (ks - 1)*dilation, stride))

@wrong("dilation is left out")
def windows_along(size, ks, stride, padding, dilation): return len(range(0, size + 2*padding - ks + 1, stride))

@wrong("a part of a window at the end counts")
def windows_along(size, ks, stride, padding, dilation):
    room = size + 2*padding - (dilation*(ks - 1) + 1)
    return 0 if room < 0 else math.ceil(room/stride) + 1

@wrong("the stride is left out")
def windows_along(size, ks, stride, padding, dilation): return len(range(size + 2*padding - dilation*(ks - 1)))

@wrong("it is negative, or 1, where there is no room")
def windows_along(size, ks, stride, padding, dilation):
    return math.trunc((size + 2*padding - dilation*(ks - 1) - 1)/stride) + 1

@wrong("it is 1 where the window is a little too long")
def windows_along(size, ks, stride, padding, dilation):
    steps = (size + padding*2 - 1 - (ks - 1)*dilation)/stride
    return max(0, 1 + math.trunc(steps))

@wrong("it is negative where there is no room")
def windows_along(size, ks, stride, padding, dilation):
    return math.floor((size + 2*padding - dilation*(ks - 1) - 1)/stride + 1)

# conv_over_time

@right
def conv_over_time(x, weight, stride):
    n, c, t = x.shape
    nf, _, ks = weight.shape
    t_out = (t - ks)//stride + 1
    out = x.new_zeros(n, nf, t_out)
    for i in range(t_out):
        win = x[:, :, i*stride:i*stride + ks]                       # (n, c, ks)
        out[:, :, i] = win.reshape(n, c*ks) @ weight.reshape(nf, c*ks).t()
    return out

@right
def conv_over_time(x, weight, stride):
    win = x.unfold(2, weight.size(2), stride).movedim(2, 1)         # (n, t_out, c, ks)
    return (win[:, :, None]*weight).sum((-1, -2)).mT

@wrong("the filter is turned round")
def conv_over_time(x, weight, stride):
    win = x.flip(-1).unfold(2, weight.size(2), 1).flip(2)[:, :, ::stride]
    return torch.einsum("nctk,fck->nft", win, weight)

@wrong("filters and moments are exchanged")
def conv_over_time(x, weight, stride):
    win = x.unfold(2, weight.size(2), stride).movedim(2, 1).flatten(2)
    return win @ weight.flatten(1).t()

@wrong("each window is summed before it is weighed")
def conv_over_time(x, weight, stride): return torch.einsum("nct,fc->nft", x.unfold(2, weight.size(2), stride).sum(-1), weight.sum(-1))

@wrong("the stride is left out")
def conv_over_time(x, weight, stride): return torch.nn.functional.conv1d(x, weight)

@wrong("only the first channel is used")
def conv_over_time(x, weight, stride): return torch.nn.functional.conv1d(x[:, :1], weight[:, :1], stride=stride)

@wrong("channels and moments are mixed up")
def conv_over_time(x, weight, stride):
    nf, c, ks = weight.shape
    win = x.unfold(-1, ks, stride)                                  # (n, c, t_out, ks)
    cols = win.reshape(len(x), win.shape[2], c*ks)
    return torch.einsum("ntk,fk->nft", cols, weight.reshape(nf, c*ks))

# batch_norm_step

@right
def batch_norm_step(x, mean, var, momentum):
    n, m = len(x), x.sum(0)/len(x)
    squares = ((x - m)**2).sum(0)
    out = (x - m)*torch.rsqrt(squares/n + 1e-5)
    return [out, mean*(1 - momentum) + m*momentum, var*(1 - momentum) + squares/(n - 1)*momentum]

@right
def batch_norm_step(x, mean, var, momentum):
    layer = torch.nn.BatchNorm1d(x.shape[1], momentum=momentum, affine=False).to(x.dtype)
    layer.running_mean, layer.running_var = mean.clone(), var.clone()
    return layer(x), layer.running_mean, layer.running_var

@wrong("the running variance is over n")
def batch_norm_step(x, mean, var, momentum):
    m, v = x.mean(0), ((x - x.mean(0))**2).mean(0)
    return [(x - m)/(v + 1e-5)**0.5, mean.lerp(m, momentum), var.lerp(v, momentum)]

@wrong("the batch is divided by the variance over n - 1")
def batch_norm_step(x, mean, var, momentum):
    m, v = x.mean(0), x.var(0)
    return [(x - m)/(v + 1e-5)**0.5, mean.lerp(m, momentum), var.lerp(v, momentum)]

@wrong("momentum is the share of the old")
def batch_norm_step(x, mean, var, momentum):
    m, v = x.mean(0), x.var(0)
    return [(x - m)/(x.var(0, unbiased=False) + 1e-5)**0.5, m.lerp(mean, momentum), v.lerp(var, momentum)]

@wrong("the batch is normalised by the running statistics")
def batch_norm_step(x, mean, var, momentum):
    out = torch.nn.functional.batch_norm(x, mean, var)
    return [out, mean.lerp(x.mean(0), momentum), var.lerp(x.var(0), momentum)]

@wrong("eps is outside the root")
def batch_norm_step(x, mean, var, momentum):
    d = x - x.mean(0)
    return [d/((d*d).mean(0).sqrt() + 1e-5), mean.lerp(x.mean(0), momentum), var.lerp(x.var(0), momentum)]

@wrong("it changes its argument")
def batch_norm_step(x, mean, var, momentum):
    return [torch.nn.functional.batch_norm(x, mean, var, training=True, momentum=momentum), mean, var]

@wrong("the batch is normalised by the new running statistics")
def batch_norm_step(x, mean, var, momentum):
    m, v = mean.lerp(x.mean(0), momentum), var.lerp(x.var(0), momentum)
    return [torch.nn.functional.batch_norm(x, m, v), m, v]

# rows_grad

@right
def rows_grad(index, g, n_rows):
    out = torch.zeros(n_rows, g.size(1), dtype=g.dtype)
    for i, o in zip(index.tolist(), g): out[i] = out[i] + o
    return out

@right
def rows_grad(index, g, n_rows): return torch.eye(n_rows, dtype=g.dtype)[index].t() @ g

@wrong("of several gradients of a row only the last is kept")
def rows_grad(index, g, n_rows):
    out = g.new_zeros(n_rows, g.size(1))
    out[index] += g
    return out

@wrong("of several gradients of a row only the last is kept")
def rows_grad(index, g, n_rows):
    out = torch.zeros(n_rows, g.size(1)) # float32, whatever g is
    out[index] += g
    return out

@wrong("several gradients of a row are averaged")
def rows_grad(index, g, n_rows):
    out = g.new_zeros(n_rows, g.size(1))
    return out.index_reduce_(0, index, g, "mean", include_self=False)

@wrong("every used row gets ones")
def rows_grad(index, g, n_rows): return torch.bincount(index, minlength=n_rows)[:, None].expand(-1, g.size(1)).to(g.dtype)

@wrong("there are rows only up to the last one used")
def rows_grad(index, g, n_rows):
    last = index.max() if index.numel() else torch.tensor(-1)
    return torch.stack([g[index == i].sum(0) for i in range(last + 1)]) if last >= 0 else g[:0]

@wrong("the order of the uses is kept, not the rows they belong to")
def rows_grad(index, g, n_rows): return torch.nn.functional.pad(g, (0, 0, 0, max(0, n_rows - len(g))))[:n_rows]
