"""Answers to the exercises of 04 · Backprop."""
import torch
from bank import right, wrong

# leaky_relu_backward

@right
def leaky_relu_backward(x, g, slope): return g*((x > 0) + slope*(x <= 0)).to(g.dtype)

@right
def leaky_relu_backward(x, g, slope):
    out = g.clone()
    out[x <= 0] *= slope
    return out

@wrong("the slope is returned, not the gradient")
def leaky_relu_backward(x, g, slope):
    out = torch.ones_like(x)
    out[x <= 0] = slope
    return out

@wrong("the sign of the gradient decides")
def leaky_relu_backward(x, g, slope): return torch.nn.functional.leaky_relu(g, slope)

@wrong("nothing gets through where x is negative")
def leaky_relu_backward(x, g, slope): return g*(x > 0)

@wrong("the two sides are exchanged")
def leaky_relu_backward(x, g, slope): return torch.where(x <= 0, g, g*slope)

@wrong("at 0 everything gets through")
def leaky_relu_backward(x, g, slope): return torch.where(x < 0, g*slope, g)

@wrong("the function itself is returned")
def leaky_relu_backward(x, g, slope): return x.clamp_min(0) + slope*x.clamp_max(0)

@wrong("it changes its argument")
def leaky_relu_backward(x, g, slope):
    g[x <= 0] *= slope
    return g

# sigmoid_backward

@right
def sigmoid_backward(out, g): return g*(out - out*out)

@wrong("the sigmoid is taken again")
def sigmoid_backward(out, g):
    s = 1/(1 + (-out).exp())
    return g*(s - s*s)

@wrong("the gradient of the output is left out")
def sigmoid_backward(out, g): return out - out**2

@wrong("the slope of tanh")
def sigmoid_backward(out, g): return g*(1 - out)*(1 + out)

@wrong("a factor of the slope is missing")
def sigmoid_backward(out, g): return out*g

@wrong("the sign is wrong")
def sigmoid_backward(out, g): return -g*(out - out*out)

# mse_lin_backward

@right
def mse_lin_backward(x, w, b, targ):
    n = x.shape[0]
    e = (x*w[:, 0]).sum(1) + b - targ # (n,)
    return torch.outer(e, w[:, 0])*2/n, (x*e[:, None]).sum(0)[:, None]*2/n, e.sum().view(1)*2/n

@right
def mse_lin_backward(x, w, b, targ):
    e = (x @ w + b)[:, 0] - targ
    return [torch.einsum("n,i->ni", 2*e, w[:, 0])/len(e), torch.einsum("ni,n->i", x, 2*e)[:, None]/len(e), 2*e.mean(0, keepdim=True)]

@wrong("the 1/n of the mean is missing")
def mse_lin_backward(x, w, b, targ):
    e = (x @ w + b)[:, 0] - targ
    return 2*e[:, None]*w.t(), 2*x.t() @ e[:, None], 2*e.sum(0, keepdim=True)

@wrong("the 2 of the square is missing")
def mse_lin_backward(x, w, b, targ):
    e = ((x @ w + b)[:, 0] - targ)/len(x)
    return e[:, None]*w.t(), x.t() @ e[:, None], e.sum(0, keepdim=True)

@wrong("the sign is wrong")
def mse_lin_backward(x, w, b, targ):
    e = 2*(targ - (x @ w + b)[:, 0])/len(x)
    return e[:, None]*w.t(), x.t() @ e[:, None], e.sum(0, keepdim=True)

@wrong("every output meets every target")
def mse_lin_backward(x, w, b, targ):
    e = 2*(x @ w + b - targ).sum(1, keepdim=True)/len(x)**2
    return e*w.t(), x.t() @ e, e.sum(0)

@wrong("the targets stay a row")
def mse_lin_backward(x, w, b, targ):
    e = torch.sub(x.mm(w) + b, targ).mul(2/len(x))
    return e.mm(w.t()), x.t().mm(e), e.sum(0)

@wrong("the gradient of b is not summed")
def mse_lin_backward(x, w, b, targ):
    e = 2*(x @ w + b - targ.view(-1, 1))/len(x)
    return e*w.t(), x.t() @ e, e.clone()

@wrong("the gradient of b is a mean")
def mse_lin_backward(x, w, b, targ):
    e = 2*(x @ w + b - targ.view(-1, 1))/len(x)
    return e*w.t(), x.t() @ e, e.sum(0)/len(x)

@wrong("the gradient of b has lost its axis")
def mse_lin_backward(x, w, b, targ):
    e = 2*(x @ w + b - targ.view(-1, 1))/len(x)
    return e*w.t(), x.t() @ e, e.sum(0).squeeze()

@wrong("the gradient of b has lost its axis")
def mse_lin_backward(x, w, b, targ):
    d = 2*((x @ w + b)[:, 0] - targ)/len(x)
    return d[:, None]*w.t(), x.t() @ d[:, None], d.sum()

# root_backward

@right
def root_backward(x, b, g, eps):
    scaled = g*(x*x + b + eps)**-0.5
    return scaled*x, 0.5*scaled.sum(0)

@wrong("eps is left out")
def root_backward(x, b, g, eps):
    scaled = g/(x*x + b).sqrt()
    return scaled*x, 0.5*scaled.sum(0)

@wrong("eps stands outside the root")
def root_backward(x, b, g, eps):
    scaled = g/((x*x + b)**0.5 + eps)
    return scaled*x, 0.5*scaled.sum(0)

@wrong("the gradient of b is not summed")
def root_backward(x, b, g, eps):
    scaled = g*(x*x + b + eps)**-0.5
    return scaled*x, 0.5*scaled

@wrong("the half is forgotten for b")
def root_backward(x, b, g, eps):
    scaled = g*(x*x + b + eps)**-0.5
    return scaled*x, scaled.sum(0)

@wrong("the half is left for x")
def root_backward(x, b, g, eps):
    half = 0.5*g*(x*x + b + eps)**-0.5
    return half*x, half.sum(0)

@wrong("the gradient of the roots is left out")
def root_backward(x, b, g, eps):
    r = (x*x + b + eps)**-0.5
    return r*x, 0.5*r.sum(0)

# two_layer_backward

@right
def two_layer_backward(x, targ, w1, b1, w2, b2):
    from course_lib.backprop import Lin, Model, Mse, Relu
    first, second = Lin(w1.clone(), b1.clone()), Lin(w2.clone(), b2.clone())
    model = Model([first, Relu(), second], Mse())
    model(x.clone(), targ)
    model.backward()
    return first.w.g, first.b.g, second.w.g, second.b.g

@right
def two_layer_backward(x, targ, w1, b1, w2, b2):
    n, on = len(x), x @ w1 + b1 > 0
    hidden = (x @ w1 + b1)*on
    e = ((hidden @ w2)[:, 0] + b2 - targ)*2/n
    back = e[:, None]*w2[:, 0]*on
    return torch.einsum("ni,nh->ih", x, back), back.sum(0), (hidden*e[:, None]).sum(0)[:, None], e.sum()[None]

def _two_layers(x, targ, w1, b1, w2, b2, stop, n):
    hidden = (x @ w1 + b1).relu()
    e = ((hidden @ w2)[:, 0] + b2 - targ)*2/n
    back = stop(hidden, e[:, None]*w2[:, 0])
    return x.t() @ back, back.sum(0), hidden.t() @ e[:, None], e.sum()[None]

@wrong("the ReLU is left out on the way back")
def two_layer_backward(x, *args): return _two_layers(x, *args, stop=lambda h, back: back, n=len(x))

@wrong("the sign of the gradient decides at the ReLU")
def two_layer_backward(x, *args): return _two_layers(x, *args, stop=lambda h, back: torch.where(back > 0, back, 0), n=len(x))

@wrong("the 1/n of the mean is missing")
def two_layer_backward(x, *args): return _two_layers(x, *args, stop=lambda h, back: torch.where(h > 0, back, 0), n=1)

@wrong("the ReLU lets everything through at 0")
def two_layer_backward(x, targ, w1, b1, w2, b2):
    pre = x @ w1 + b1
    return _two_layers(x, targ, w1, b1, w2, b2, stop=lambda h, back: torch.where(pre < 0, 0, back), n=len(x))

@wrong("w2's gradient is made from what went into the ReLU")
def two_layer_backward(x, targ, w1, b1, w2, b2):
    pre = x @ w1 + b1
    e = (pre.relu() @ w2 + b2 - targ.view(-1, 1))*2/len(x)
    back = torch.where(pre > 0, e @ w2.t(), 0)
    return x.t() @ back, back.sum(0), pre.t() @ e, e.sum(0)

@wrong("every output meets every target")
def two_layer_backward(x, targ, w1, b1, w2, b2):
    pre = x @ w1 + b1
    e = (pre.relu() @ w2 + b2 - targ).sum(1, keepdim=True)*2/len(x)**2
    back = torch.where(pre > 0, e @ w2.t(), 0)
    return x.t() @ back, back.sum(0), pre.relu().t() @ e, e.sum(0)

@wrong("the gradient of b2 has lost its axis")
def two_layer_backward(x, targ, w1, b1, w2, b2):
    *others, b2_g = _two_layers(x, targ, w1, b1, w2, b2, stop=lambda h, back: torch.where(h > 0, back, 0), n=len(x))
    return *others, b2_g.squeeze()
