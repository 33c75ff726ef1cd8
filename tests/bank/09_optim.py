"""Answers to the exercises of 09 · Optimizers."""
import math
import torch
from bank import right, wrong

# momentum_step

@right
def momentum_step(w, g, b, lr, mom):
    new = torch.add(g, b, alpha=mom)
    return torch.add(w, new, alpha=-lr), new

@right
def momentum_step(w, g, b, lr, mom):
    b = b.clone().mul_(mom).add_(g)
    w = w.clone().sub_(lr*b)
    return w, b

@wrong("the step goes along the old memory")
def momentum_step(w, g, b, lr, mom):
    w = w - lr*b
    b = b*mom + g
    return w, b

@wrong("a mean in place of a sum")
def momentum_step(w, g, b, lr, mom):
    b = torch.lerp(g, b, mom)
    return w - lr*b, b

@wrong("the step goes uphill")
def momentum_step(w, g, b, lr, mom):
    b = g + mom*b
    return torch.add(w, b, alpha=lr), b

@wrong("the learning rate is in the memory")
def momentum_step(w, g, b, lr, mom):
    step = b*mom + g*lr
    return w - step, step

@wrong("momentum is counted twice")
def momentum_step(w, g, b, lr, mom):
    b = mom*b + g
    look = g + b*mom
    return w - look*lr, b

@wrong("the memory stays as it was")
def momentum_step(w, g, b, lr, mom): return w - lr*g - lr*mom*b, b

@wrong("it changes its argument")
def momentum_step(w, g, b, lr, mom):
    b *= mom
    b += g
    return w - lr*b, b

# debiased_mean

@right
def debiased_mean(gs, beta):
    m, share, out = torch.zeros((), dtype=gs.dtype), 0., torch.zeros_like(gs)
    for i in range(len(gs)):
        m, share = beta*m + (1 - beta)*gs[i], beta*share + (1 - beta)
        out[i] = m/share
    return out

@right
def debiased_mean(gs, beta):
    total, weight, out = 0., 0., []
    for g in gs.tolist():
        total, weight = beta*total + g, beta*weight + 1
        out.append(total/weight)
    return torch.tensor(out, dtype=gs.dtype)

@wrong("the means are not corrected")
def debiased_mean(gs, beta):
    out, m = torch.zeros_like(gs), 0
    for i, g in enumerate(gs):
        m += (1 - beta)*(g - m)
        out[i] = m
    return out

@wrong("the corrected mean goes into the next one")
def debiased_mean(gs, beta):
    out, m = torch.zeros_like(gs), 0
    for i, g in enumerate(gs):
        m = (m*beta + g*(1 - beta))/(1 - beta**(i + 1))
        out[i] = m
    return out

@wrong("the correction does not change with time")
def debiased_mean(gs, beta):
    out, m = torch.zeros_like(gs), 0
    for i, g in enumerate(gs):
        m = m*beta + g
        out[i] = m
    return out

@wrong("it starts from the first number")
def debiased_mean(gs, beta):
    out, m = torch.zeros_like(gs), None
    for i, g in enumerate(gs):
        m = g if m is None else m*beta + g*(1 - beta)
        out[i] = m
    return out

@wrong("the count is one too high")
def debiased_mean(gs, beta):
    out, m, t = torch.zeros_like(gs), 0, 1
    for i, g in enumerate(gs):
        t += 1
        m = m*beta + g*(1 - beta)
        out[i] = m/(1 - beta**t)
    return out

# first_adam_step

@right
def first_adam_step(g, lr, eps):
    m, v = 0.1*g/(1 - 0.9), 0.001*g**2/(1 - 0.999)
    return -lr*m/(v.sqrt() + eps)

@right
def first_adam_step(g, lr, eps): return -lr*torch.sign(g)*(g.abs()/(g.abs() + eps)) if eps else -lr*torch.sign(g)

@wrong("the step goes uphill")
def first_adam_step(g, lr, eps): return lr*(g/((g**2)**0.5 + eps))

@wrong("epsilon is under the root")
def first_adam_step(g, lr, eps): return -lr*g*torch.rsqrt(g.square() + eps)

@wrong("the sign of the gradient alone")
def first_adam_step(g, lr, eps): return lr*((g < 0).to(g.dtype) - (g > 0).to(g.dtype))

@wrong("the means are not corrected")
def first_adam_step(g, lr, eps):
    m, v = (1 - 0.9)*g, (1 - 0.999)*g**2
    return -lr*m/(v.sqrt() + eps)

@wrong("the gradient is not divided")
def first_adam_step(g, lr, eps): return g*-lr

# cosine_lrs

@right
def cosine_lrs(n, high, low):
    middle, half = (high + low)/2, (high - low)/2
    return [middle + half*math.cos(math.pi*t/n) for t in range(n + 1)]

@right
def cosine_lrs(n, high, low):
    out = []
    for t in range(n + 1): out.append(high - (high - low)*math.sin(math.pi*t/(2*n))**2)
    return out

@wrong("the last step is missing")
def cosine_lrs(n, high, low):
    out, t = [], 0
    while t < n:
        out.append(high - (high - low)*math.sin(math.pi*t/(2*n))**2)
        t += 1
    return out

@wrong("a straight line")
def cosine_lrs(n, high, low): return [high*(1 - t/n) + low*t/n for t in range(n + 1)]

@wrong("a quarter of a wave")
def cosine_lrs(n, high, low): return [low - (low - high)*math.cos(math.pi*t/(2*n)) for t in range(n + 1)]

@wrong("it goes the other way")
def cosine_lrs(n, high, low):
    middle, half = (high + low)/2, (high - low)/2
    return [middle - half*math.cos(math.pi*t/n) for t in range(n + 1)]

@wrong("the lower end is added to the whole")
def cosine_lrs(n, high, low): return [low + high*(0.5 + math.cos(math.pi*t/n)/2) for t in range(n + 1)]

@wrong("it returns a generator")
def cosine_lrs(n, high, low): return (low + (high - low)*(1 + math.cos(math.pi*t/n))/2 for t in range(n + 1))

# clip_norm

@right
def clip_norm(grads, max_norm):
    norm = torch.cat([g.reshape(-1) for g in grads]).norm()
    factor = 1. if norm <= max_norm else max_norm/norm
    return [g*factor for g in grads]

@right
def clip_norm(grads, max_norm):
    length = torch.stack([g.norm() for g in grads]).norm().item()
    return [g if length <= max_norm else g/length*max_norm for g in grads]

@wrong("each gradient is clipped on its own")
def clip_norm(grads, max_norm): return [g if g.norm() <= max_norm else g/g.norm()*max_norm for g in grads]

@wrong("each number is clipped")
def clip_norm(grads, max_norm): return [torch.where(g.abs() > max_norm, g.sign()*max_norm, g) for g in grads]

@wrong("short gradients are made longer")
def clip_norm(grads, max_norm):
    norm = torch.stack([g.norm() for g in grads]).norm()
    return [g/norm*max_norm if norm > 0 else g for g in grads]

@wrong("the root is not taken")
def clip_norm(grads, max_norm):
    total = torch.cat([g.reshape(-1) for g in grads]).square().sum()
    return [g*(max_norm/total) if total > max_norm else g for g in grads]

@wrong("lengths are added up")
def clip_norm(grads, max_norm):
    total = sum(g.norm() for g in grads)
    return [g*(max_norm/total) if total > max_norm else g for g in grads]

@wrong("it changes its argument")
def clip_norm(grads, max_norm):
    norm = torch.stack([g.norm() for g in grads]).norm()
    for g in grads:
        if norm > max_norm: g *= max_norm/norm
    return grads
