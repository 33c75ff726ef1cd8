"""Answers to the exercises of 03 · Init."""
import math
import numpy as np
import torch
from bank import right, wrong

# layer_stds

@right
def layer_stds(x, ws):
    out = []
    for w in ws:
        x = torch.clamp(torch.einsum("nk,jk->nj", x, w), min=0)
        out.append(float(x.std()))
    return out

@right
def layer_stds(x, ws):
    def follow(x, ws): return [] if not ws else (lambda y: [y.std().item(), *follow(y, ws[1:])])(torch.nn.functional.linear(x, ws[0]).relu())
    return follow(x, ws)

@wrong("the std is taken before ReLU")
def layer_stds(x, ws):
    out = []
    for w in ws:
        z = torch.nn.functional.linear(x, w)
        out.append(float(z.std()))
        x = z.clamp(min=0)
    return out

@wrong("there is no ReLU")
def layer_stds(x, ws):
    out = []
    for w in ws:
        x = torch.nn.functional.linear(x, w)
        out += [float(x.std())]
    return out

@wrong("each layer gets the first input")
def layer_stds(x, ws):
    try: return [float(torch.nn.functional.linear(x, w).clamp(min=0).std()) for w in ws]
    except RuntimeError as e: raise RuntimeError("shapes") from e

@wrong("only the last layer is measured")
def layer_stds(x, ws):
    for w in ws: x = torch.relu(x @ w.T)
    return [float(x.std())] if ws else []

@wrong("the second moment's root is returned")
def layer_stds(x, ws):
    out = []
    for w in ws:
        x = torch.relu(x @ w.T)
        out.append(float((x**2).mean()**0.5))
    return out

@wrong("means are returned")
def layer_stds(x, ws):
    out = []
    for w in ws:
        x = torch.relu(x @ w.T)
        out.append(float(x.sum()/x.numel()))
    return out

# predict_std

@right
def predict_std(n_in, w_std, x_mean, x_std): return n_in**0.5*w_std*math.hypot(x_mean, x_std)

@right
def predict_std(n_in, w_std, x_mean, x_std):
    variance = 0
    for _ in range(n_in): variance += w_std*w_std*(x_std*x_std + x_mean*x_mean)
    return np.sqrt(variance)

@wrong("the inputs' mean is left out")
def predict_std(n_in, w_std, x_mean, x_std): return (n_in*w_std**2*x_std**2)**0.5

@wrong("the variance is returned")
def predict_std(n_in, w_std, x_mean, x_std): return sum(w_std**2*(x_mean**2 + x_std**2) for _ in range(n_in))

@wrong("it grows like n, not like its root")
def predict_std(n_in, w_std, x_mean, x_std): return sum(w_std*math.hypot(x_mean, x_std) for _ in range(n_in))

@wrong("mean and std are added before they are squared")
def predict_std(n_in, w_std, x_mean, x_std): return (n_in*w_std**2*(x_mean + x_std)**2)**0.5

@wrong("the number of inputs is left out")
def predict_std(n_in, w_std, x_mean, x_std): return abs(w_std)*math.hypot(x_mean, x_std)

# gain_for

@right
def gain_for(out): return (out.numel()/(out**2).sum()).sqrt()

@right
def gain_for(out): return (sum(o*o for o in out.flatten().tolist())/out.numel())**-0.5

@wrong("the std is made up for")
def gain_for(out): return float(out.std()**-1)

@wrong("the root is forgotten")
def gain_for(out): return out.numel()/float((out*out).sum())

@wrong("it is the loss, not the gain")
def gain_for(out): return float((out*out).mean())**0.5

@wrong("absolute values instead of squares")
def gain_for(out): return out.numel()/float(out.abs().sum())

@wrong("the mean is made up for")
def gain_for(out): return out.numel()/float(out.sum())

# uniform_bound

@right
def uniform_bound(shape, gain):
    fan = 1
    for n in shape[1:]: fan *= n
    return gain*3**0.5/fan**0.5

@right
def uniform_bound(shape, gain): return gain*(3*shape[0]/math.prod(shape))**0.5

@wrong("the std is returned")
def uniform_bound(shape, gain): return gain*(shape[0]/math.prod(shape))**0.5

@wrong("the wrong fan")
def uniform_bound(shape, gain): return gain*(3*shape[1]/math.prod(shape))**0.5

@wrong("the window is left out")
def uniform_bound(shape, gain): return gain*3**0.5*shape[1]**-0.5

@wrong("the whole width is returned")
def uniform_bound(shape, gain): return 2*gain*(3*shape[0]/math.prod(shape))**0.5

@wrong("every weight is counted")
def uniform_bound(shape, gain): return gain*(3/math.prod(shape))**0.5

@wrong("the root of the fan is forgotten")
def uniform_bound(shape, gain): return gain*3**0.5*shape[0]/math.prod(shape)

# unit_weights

@right
def unit_weights(x, w):
    out = torch.einsum("nk,jk->nj", x, w)
    return w*(1/out.std())

@right
def unit_weights(x, w):
    for _ in range(3): w = w/torch.nn.functional.linear(x, w).flatten().std()
    return w

@wrong("the variance divides")
def unit_weights(x, w): return w/(x @ w.T).std()**2

@wrong("it multiplies")
def unit_weights(x, w): return torch.nn.functional.linear(x, w).std()*w

@wrong("each output has a std of its own")
def unit_weights(x, w): return torch.stack([o/(x @ o).std() for o in w])

@wrong("the weights get a std of 1")
def unit_weights(x, w): return w*w.std()**-1

@wrong("the second moment is made 1")
def unit_weights(x, w): return w/((x @ w.T)**2).mean()**0.5

@wrong("it changes its argument")
def unit_weights(x, w):
    w /= (x @ w.t()).std()
    return w
