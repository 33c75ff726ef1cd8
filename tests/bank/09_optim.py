"""Answers to the exercises of 09 · Optimizers."""
import math
import torch
from bank import right, wrong

# momentum_step

@right
def momentum_step(w, g, b, lr, mom, wd):
    new = torch.add(g, b, alpha=mom)
    return torch.add(w - lr*wd*w, new, alpha=-lr), new

@right
def momentum_step(w, g, b, lr, mom, wd):
    b = b.clone().mul_(mom).add_(g)
    w = w.clone().mul_(1 - lr*wd).sub_(lr*b)
    return w, b

@wrong("the decay is remembered")
def momentum_step(w, g, b, lr, mom, wd):
    g = torch.add(g, w, alpha=wd)
    b = mom*b + g
    return w - lr*b, b

@wrong("the decay is left out")
def momentum_step(w, g, b, lr, mom, wd):
    new = torch.add(g, b, alpha=mom)
    return torch.add(w, new, alpha=-lr), new

@wrong("the decay does not know the learning rate")
def momentum_step(w, g, b, lr, mom, wd):
    b = mom*b + g
    return w - wd*w - lr*b, b

@wrong("the step is decayed too")
def momentum_step(w, g, b, lr, mom, wd):
    b = mom*b + g
    w = w - lr*b
    return w - w*wd*lr, b

@wrong("the step goes along the old memory")
def momentum_step(w, g, b, lr, mom, wd):
    w = w*(1 - lr*wd) - lr*b
    b = b*mom + g
    return w, b

@wrong("a mean in place of a sum")
def momentum_step(w, g, b, lr, mom, wd):
    b = torch.lerp(g, b, mom)
    return w - lr*(b + wd*w), b

@wrong("the step goes uphill")
def momentum_step(w, g, b, lr, mom, wd):
    b = g + mom*b
    return torch.add(w*(1 - lr*wd), b, alpha=lr), b

@wrong("the learning rate is in the memory")
def momentum_step(w, g, b, lr, mom, wd):
    step = b*mom + g*lr
    return w - step - lr*wd*w, step

@wrong("momentum is counted twice")
def momentum_step(w, g, b, lr, mom, wd):
    b = mom*b + g
    look = g + b*mom + wd*w
    return w - look*lr, b

@wrong("the memory stays as it was")
def momentum_step(w, g, b, lr, mom, wd): return w - lr*wd*w - lr*g - lr*mom*b, b

@wrong("it changes its argument")
def momentum_step(w, g, b, lr, mom, wd):
    b *= mom
    b += g
    return w - lr*(b + wd*w), b

@wrong("the two results are exchanged")
def momentum_step(w, g, b, lr, mom, wd):
    new = torch.add(g, b, alpha=mom)
    return new, w - lr*(new + wd*w)

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

@wrong("all numbers count alike")
def debiased_mean(gs, beta): return torch.tensor([gs[:i + 1].mean().item() for i in range(len(gs))], dtype=gs.dtype)

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

@wrong("the root is not taken")
def first_adam_step(g, lr, eps):
    m, v = 0.1*g/(1 - 0.9), 0.001*g**2/(1 - 0.999)
    return -lr*m/(v + eps)

# cosine_lrs

@right
def cosine_lrs(n, high, low, warm):
    middle, half = (high + low)/2, (high - low)/2
    def at(t): return high - (warm - t)*(high - low)/warm if t < warm else middle + half*math.cos(math.pi*(t - warm)/(n - warm))
    return [at(t) for t in range(n + 1)]

@right
def cosine_lrs(n, high, low, warm):
    out = []
    for t in range(n + 1):
        down = math.sin(math.pi*(t - warm)/(2*(n - warm)))**2 if t >= warm else 1 - t/warm
        out.append(high - (high - low)*down)
    return out

@wrong("the last step is missing")
def cosine_lrs(n, high, low, warm):
    out, t = [], 0
    while t < n:
        out.append(low + (high - low)*t/warm if t < warm else high - (high - low)*math.sin(math.pi*(t - warm)/(2*(n - warm)))**2)
        t += 1
    return out

@wrong("the peak comes twice")
def cosine_lrs(n, high, low, warm):
    up = [low + (high - low)*t/warm for t in range(warm + 1)] if warm else []
    return up + [high - (high - low)*math.sin(math.pi*t/(2*(n - warm)))**2 for t in range(n - warm + 1)]

@wrong("there is no way up")
def cosine_lrs(n, high, low, warm): return [low + (high - low)*(1 + math.cos(math.pi*t/n))/2 for t in range(n + 1)]

@wrong("the wave began at step 0")
def cosine_lrs(n, high, low, warm):
    return [low + (high - low)*(t/warm if t < warm else (1 + math.cos(math.pi*t/n))/2) for t in range(n + 1)]

@wrong("the way up starts from 0")
def cosine_lrs(n, high, low, warm):
    return [high*t/warm if t < warm else high - (high - low)*math.sin(math.pi*(t - warm)/(2*(n - warm)))**2 for t in range(n + 1)]

@wrong("the way down is a straight line")
def cosine_lrs(n, high, low, warm):
    return [low + (high - low)*(t/warm if t < warm else (n - t)/(n - warm)) for t in range(n + 1)]

@wrong("a quarter of a wave")
def cosine_lrs(n, high, low, warm):
    return [low + (high - low)*(t/warm if t < warm else math.cos(math.pi*(t - warm)/(2*(n - warm)))) for t in range(n + 1)]

@wrong("it returns a generator")
def cosine_lrs(n, high, low, warm):
    return (low + (high - low)*(t/warm if t < warm else (1 + math.cos(math.pi*(t - warm)/(n - warm)))/2) for t in range(n + 1))

@wrong("the wave goes below the lower end")
def cosine_lrs(n, high, low, warm):
    return [low + (high - low)*(t/warm if t < warm else math.cos(math.pi*(t - warm)/(n - warm))) for t in range(n + 1)]

@wrong("the way up is half a wave too")
def cosine_lrs(n, high, low, warm):
    def part(t): return math.sin(math.pi*t/(2*warm))**2 if t < warm else math.cos(math.pi*(t - warm)/(2*(n - warm)))**2
    return [low + (high - low)*part(t) for t in range(n + 1)]

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

@wrong("something is added to the length")
def clip_norm(grads, max_norm):
    norm = torch.cat([g.reshape(-1) for g in grads]).norm()
    return [g*torch.clamp(max_norm/(norm + 1e-6), max=1.) for g in grads]

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

@wrong("only the longest is measured")
def clip_norm(grads, max_norm):
    longest = torch.stack([g.norm() for g in grads]).max()
    return [g*(max_norm/longest) if longest > max_norm else g for g in grads]
