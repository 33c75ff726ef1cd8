"""Answers to the exercises of 12 · Convnet."""
import torch
from bank import right, wrong

# layers_to_see

@right
def layers_to_see(size, ks, stride):
    n, width = 0, 1
    while width < size:
        width += (ks - 1)*stride**n
        n += 1
    return n

@right
def layers_to_see(size, ks, stride):
    layers = []
    def seen():
        out = 1
        for _ in layers: out = (out - 1)*stride + ks
        return out
    while seen() < size: layers.append(ks)
    return len(layers)

@wrong("strides are left out")
def layers_to_see(size, ks, stride): return -(-(size - 1)//(ks - 1))

@wrong("the distance grows too early")
def layers_to_see(size, ks, stride):
    n, width = 0, 1
    while width < size:
        n += 1
        width += (ks - 1)*stride**n
    return n

@wrong("strides are added up")
def layers_to_see(size, ks, stride):
    n, width = 0, 1
    while width < size:
        width += (ks - 1)*(1 + n*(stride - 1))
        n += 1
    return n

@wrong("a layer adds its whole window")
def layers_to_see(size, ks, stride):
    n, width = 0, 1
    while width < size:
        width += ks*stride**n
        n += 1
    return n

@wrong("one layer too many")
def layers_to_see(size, ks, stride):
    n, width = 0, 1
    while width <= size:
        width += (ks - 1)*stride**n
        n += 1
    return n

@wrong("the layers are multiplied")
def layers_to_see(size, ks, stride):
    n = 0
    while ks**n < size: n += 1
    return n

# conv_cost

@right
def conv_cost(ni, nf, ks, stride, h):
    places = len(range(0, h, stride))**2
    return [ni*nf*ks**2, ni*nf*ks**2*places]

@right
def conv_cost(ni, nf, ks, stride, h):
    out = (h + 2*(ks//2) - ks)//stride + 1
    w = torch.empty(nf, ni, ks, ks).numel()
    return [w, w*out**2]

@wrong("the stride is left out")
def conv_cost(ni, nf, ks, stride, h):
    w = ks**2*ni*nf
    return [w, w*h**2]

@wrong("sizes are rounded down")
def conv_cost(ni, nf, ks, stride, h):
    w, out = ks**2*ni*nf, int(h/stride)
    return [w, w*out**2]

@wrong("the channels in are left out")
def conv_cost(ni, nf, ks, stride, h):
    w, out = ks**2*nf, (h + stride - 1)//stride
    return [w, w*out**2]

@wrong("the channels out are left out")
def conv_cost(ni, nf, ks, stride, h):
    w, out = ks**2*ni, (h + stride - 1)//stride
    return [w, w*out**2]

@wrong("only one axis is counted")
def conv_cost(ni, nf, ks, stride, h):
    w = ks**2*ni*nf
    return [w, w*((h + stride - 1)//stride)]

@wrong("a bias is counted")
def conv_cost(ni, nf, ks, stride, h):
    w, out = ks**2*ni*nf, (h + stride - 1)//stride
    return [w + nf, w*out**2]

@wrong("padding is left out")
def conv_cost(ni, nf, ks, stride, h):
    w, out = ks**2*ni*nf, len(range(0, h - ks + 1, stride))
    return [w, w*out**2]

# fold_batch_norm

@right
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    std = torch.sqrt(var + eps)
    return torch.einsum("f,fcij->fcij", gamma/std, weight), beta - gamma*mean/std

@right
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    def norm(z): return (z - mean)*(var + eps).rsqrt()*gamma + beta # batch norm is a line: ask it at two points
    b = norm(torch.zeros_like(mean))
    return (weight.flatten(1).t()*(norm(torch.ones_like(mean)) - b)).t().view(weight.shape), b

@wrong("eps is outside the root")
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    std = torch.sqrt(var) + eps
    return weight*(gamma/std).view(-1, 1, 1, 1), beta - gamma*mean/std

@wrong("the root is not taken")
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    return weight*(gamma/(eps + var)).view(-1, 1, 1, 1), beta - gamma*mean/(eps + var)

@wrong("the mean is not scaled")
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    return weight*(gamma*(var + eps).rsqrt()).view(-1, 1, 1, 1), beta - mean

@wrong("the mean is added")
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    scale = gamma*(var + eps).rsqrt()
    return weight*scale.view(-1, 1, 1, 1), scale*mean + beta

@wrong("gamma is left out")
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    std = torch.sqrt(var + eps)
    return weight/std.view(-1, 1, 1, 1), beta - mean/std

@wrong("beta is left out")
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    scale = gamma*(var + eps).rsqrt()
    return weight*scale.view(-1, 1, 1, 1), 0 - scale*mean

@wrong("the weights are left as they were")
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    return weight, beta - gamma*mean/torch.sqrt(var + eps)

@wrong("the scale lies along the last axis")
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    scale = gamma*(var + eps).rsqrt()
    return weight*scale, beta - scale*mean

@wrong("the scale lies along the channels in")
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    scale = gamma*(var + eps).rsqrt()
    return weight*scale.view(1, -1, 1, 1), beta - scale*mean

@wrong("beta is scaled, too")
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    scale = gamma*(var + eps).rsqrt()
    return weight*scale.view(-1, 1, 1, 1), scale*(beta - mean)

@wrong("it changes its argument")
def fold_batch_norm(weight, mean, var, gamma, beta, eps):
    scale = gamma*(var + eps).rsqrt()
    weight *= scale.view(-1, 1, 1, 1)
    return weight, beta - scale*mean

# shifted

@right
def shifted(x, down, right):
    h, w = x.shape
    out = x.new_zeros(h, w)
    for i in range(max(down, 0), min(h, h + down)):
        for j in range(max(right, 0), min(w, w + right)): out[i, j] = x[i - down, j - right]
    return out

@right
def shifted(x, down, right):
    h, w = x.shape
    i, j = torch.arange(h)[:, None] - down, torch.arange(w) - right
    inside = (i >= 0) & (i < h) & (j >= 0) & (j < w)
    return torch.where(inside, x[i.clamp(0, h - 1), j.clamp(0, w - 1)], 0)

@wrong("what leaves comes in again")
def shifted(x, down, right):
    h, w = x.shape
    return x[(torch.arange(h) - down) % h][:, (torch.arange(w) - right) % w]

@wrong("rows and columns are exchanged")
def shifted(x, down, right):
    h, w = x.shape
    i, j = torch.arange(h)[:, None] - right, torch.arange(w) - down
    inside = (i >= 0) & (i < h) & (j >= 0) & (j < w)
    return torch.where(inside, x[i.clamp(0, h - 1), j.clamp(0, w - 1)], 0)

@wrong("it moves the other way")
def shifted(x, down, right):
    h, w = x.shape
    big = torch.constant_pad_nd(x, [abs(right)]*2 + [abs(down)]*2)
    return big[abs(down) + down:, abs(right) + right:][:h, :w]

@wrong("negative steps are taken as positive")
def shifted(x, down, right):
    h, w = x.shape
    return torch.constant_pad_nd(x, [abs(right), 0, abs(down), 0])[:h, :w]

@wrong("negative steps do nothing")
def shifted(x, down, right):
    h, w = x.shape
    return torch.constant_pad_nd(x, [max(right, 0), 0, max(down, 0), 0])[:h, :w]

@wrong("the edge is drawn out")
def shifted(x, down, right):
    h, w = x.shape
    return torch.stack([torch.stack([x[min(max(i - down, 0), h - 1), min(max(j - right, 0), w - 1)] for j in range(w)]) for i in range(h)])

@wrong("the end of a slice falls below zero")
def shifted(x, down, right):
    h, w = x.shape
    out = x.new_zeros(h, w)
    out[max(down, 0):h + min(down, 0), max(right, 0):w + min(right, 0)] = x[max(-down, 0):h - max(down, 0), max(-right, 0):w - max(right, 0)]
    return out

@wrong("it cannot leave the image")
def shifted(x, down, right): return torch.nn.functional.pad(x, (right, -right, down, -down))

@wrong("it changes its argument")
def shifted(x, down, right):
    old = x.clone()
    h, w = x.shape
    for i in range(h):
        for j in range(w): x[i, j] = old[i - down, j - right] if 0 <= i - down < h and 0 <= j - right < w else 0
    return x

# recall_and_precision

@right
def recall_and_precision(cm):
    right = torch.diagonal(cm).float()
    return torch.div(right, cm.float().sum(dim=1)), torch.div(right, cm.float().sum(dim=0))

@right
def recall_and_precision(cm):
    n = len(cm)
    rows, columns = cm/cm.sum(1, keepdim=True), cm/cm.sum(0, keepdim=True)
    return torch.stack([rows[k, k] for k in range(n)]), torch.stack([columns[k, k] for k in range(n)])

@wrong("the two are exchanged")
def recall_and_precision(cm):
    right = torch.diagonal(cm).float()
    return right/cm.sum(dim=0), right/cm.sum(dim=1)

@wrong("divided by all items")
def recall_and_precision(cm):
    share = (cm/cm.sum()).diag()
    return share, share

@wrong("both are divided by rows")
def recall_and_precision(cm):
    recall = (cm/cm.sum(1, keepdim=True)).diag()
    return recall, recall

@wrong("0 where there is nothing to divide by")
def recall_and_precision(cm): return (cm.diag()/cm.sum(1)).nan_to_num(0), (cm.diag()/cm.sum(0)).nan_to_num(0)

@wrong("divided by the mistakes alone")
def recall_and_precision(cm):
    wrong = cm - torch.diag(cm.diag())
    return cm.diag()/wrong.sum(1), cm.diag()/wrong.sum(0)

@wrong("rounded down to whole numbers")
def recall_and_precision(cm): return (cm.diag()/cm.sum(1)).floor(), (cm.diag()/cm.sum(0)).floor()
