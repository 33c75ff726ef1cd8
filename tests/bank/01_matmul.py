"""Answers to the exercises of 01 · Matmul."""
import operator
import torch
from bank import right, wrong

# my_relu

@right
def my_relu(xs):
    out = []
    for x in xs:
        if x < 0: x = 0
        out.append(x)
    return out

@right
def my_relu(xs): return tuple(x*(x > 0) if x > float("-inf") else 0. for x in xs)

@wrong("negative numbers become positive")
def my_relu(xs): return [x if x > 0 else -x for x in xs]

@wrong("negative numbers are left out")
def my_relu(xs): return list(filter(lambda x: x > 0, xs))

@wrong("negative numbers are left out")
def my_relu(xs): return [x for x in xs if not x < 0]

@wrong("the positive numbers become 0")
def my_relu(xs): return [x*(x < 0) if abs(x) < float("inf") else min(x, 0) for x in xs]

@wrong("a positive number becomes 1")
def my_relu(xs): return [1 if x > 0 else 0 for x in xs]

@wrong("it changes its argument")
def my_relu(xs):
    for i, x in enumerate(xs): xs[i] = max(x, 0)
    return xs

@wrong("it returns nothing")
def my_relu(xs):
    for x in xs: max(x, 0)

@wrong("it does not end")
def my_relu(xs):
    i = 0
    while i < len(xs):
        if xs[i] > 0: i += 1
    return xs

# my_neuron

@right
def my_neuron(x, w, b):
    if len(x) != len(w): raise ValueError
    total = b
    for i in range(len(x)): total += x[i]*w[i]
    return total if total > 0 else 0

@right
def my_neuron(x, w, b): return max(0, b + sum(o*p for o, p in zip(x, w, strict=True)))

@wrong("the bias is added after ReLU")
def my_neuron(x, w, b):
    if len(x) != len(w): raise ValueError
    out = sum(map(operator.mul, x, w))
    return (out if out > 0 else 0) + b

@wrong("ReLU is missing")
def my_neuron(x, w, b): return sum(o*p for o, p in zip(x, w, strict=True)) + b

@wrong("the bias is missing")
def my_neuron(x, w, b): return max(0, sum(o*p for o, p in zip(x, w, strict=True)))

@wrong("the bias is added once for each input")
def my_neuron(x, w, b):
    out = 0
    for o, p in zip(x, w, strict=True): out = out + o*p + b
    return max(out, 0)

@wrong("ReLU is applied to each product")
def my_neuron(x, w, b): return sum(max(0, o*p) for o, p in zip(x, w, strict=True)) + b

@wrong("lengths that differ go unnoticed")
def my_neuron(x, w, b):
    out = b
    for i in range(min(len(x), len(w))): out += x[i]*w[i]
    return max(out, 0)

@wrong("two calls with the same arguments differ")
def my_neuron(x, w, b, total=[0]):
    for o, p in zip(x, w, strict=True): total[0] += o*p
    return max(total[0] + b, 0)

# dense_lists

@right
def dense_lists(x, w, b):
    out = []
    for item in x:
        row = []
        for j in range(len(w)):
            total = b[j]
            for k in range(len(item)): total += item[k]*w[j][k]
            row.append(max(total, 0))
        out.append(row)
    return out

@wrong("ReLU is missing")
def dense_lists(x, w, b): return [[b[j] + sum(map(operator.mul, item, w[j])) for j in range(len(b))] for item in x]

@wrong("the result is transposed: a row for each neuron")
def dense_lists(x, w, b): return [[max(0, b[j] + sum(map(operator.mul, item, w[j]))) for item in x] for j in range(len(b))]

@wrong("the weights are read by columns")
def dense_lists(x, w, b):
    out = []
    for item in x:
        out.append([])
        for j in range(len(b)):
            total = b[j]
            for k in range(len(item)): total += w[k][j]*item[k]
            out[-1].append(max(total, 0))
    return out

@wrong("every neuron gets the first bias")
def dense_lists(x, w, b): return [[max(0, b[0] + sum(map(operator.mul, item, ws))) for ws in w] for item in x]

@wrong("the bias is missing")
def dense_lists(x, w, b): return [[max(0, sum(map(operator.mul, item, ws))) for ws in w] for item in x]

@wrong("the bias is added after ReLU")
def dense_lists(x, w, b): return [[max(0, sum(map(operator.mul, item, ws))) + o for ws, o in zip(w, b)] for item in x]

@wrong("only the first item is worked on")
def dense_lists(x, w, b):
    for item in [x[0]]: return [max(0, sum(map(operator.mul, item, ws)) + o) for ws, o in zip(w, b)]

# dense

@right
def dense(x, w, b): return torch.relu(torch.einsum("ni,oi->no", x, w) + b)

@right
def dense(x, w, b): return torch.stack([(w[j]*x).sum(1) + b[j] for j in range(len(b))], dim=1).clamp(min=0)

@wrong("the weights are not transposed")
def dense(x, w, b): return torch.relu(torch.matmul(x, w) + b)

@wrong("ReLU is missing")
def dense(x, w, b): return torch.nn.functional.linear(x, w, b)

@wrong("the bias is added after ReLU")
def dense(x, w, b): return (x @ w.T).clamp(min=0).add(b)

@wrong("the bias is missing")
def dense(x, w, b): return (x @ w.T).clamp_min(0)

@wrong("the bias is added down the columns")
def dense(x, w, b): return (x @ w.T + b.unsqueeze(1)).clamp_min(0)

@wrong("the result is transposed: a row for each neuron")
def dense(x, w, b): return (w @ x.T + b.unsqueeze(1)).relu()

@wrong("float64 comes back as float32")
def dense(x, w, b): return torch.tensor((x @ w.T + b).relu().tolist()).view(len(x), len(b))

@wrong("it changes its argument")
def dense(x, w, b):
    out = x @ w.T
    b.add_(0.5)
    return (out + b - 0.5).relu_()

# matmul_outer

@right
def matmul_outer(a, b): return (a[:, :, None]*b[None]).sum(1)

@right
def matmul_outer(a, b):
    out = a.new_zeros(len(a), b.shape[1])
    for column, row in zip(a.t(), b): out = out + torch.outer(column, row)
    return out

@wrong("only the last outer product is kept")
def matmul_outer(a, b):
    out = torch.zeros(len(a), b.shape[1]).to(a.dtype)
    for column, row in zip(a.t(), b): out[:] = torch.outer(column, row)
    return out

@wrong("the last outer product is left out")
def matmul_outer(a, b):
    out = torch.zeros(len(a), b.shape[1]).to(a.dtype)
    for k in range(a.shape[1] - 1): out += torch.outer(a[:, k], b[k])
    return out

@wrong("the result is transposed")
def matmul_outer(a, b):
    out = torch.zeros(b.shape[1], len(a)).to(a.dtype)
    for k in range(a.shape[1]): out += b[k, :, None]*a[:, k]
    return out

@wrong("the result is always float32")
def matmul_outer(a, b):
    out = torch.zeros(len(a), b.shape[1])
    for k in range(a.shape[1]): out += torch.outer(a[:, k], b[k])
    return out

@wrong("matching numbers are multiplied, nothing is summed")
def matmul_outer(a, b): return torch.mul(a, b)

@wrong("it fails when there is nothing to sum")
def matmul_outer(a, b):
    out = torch.outer(a[:, 0], b[0])
    for k in range(1, a.shape[1]): out = out + torch.outer(a[:, k], b[k])
    return out

@wrong("it changes its argument")
def matmul_outer(a, b):
    out = torch.zeros(len(a), b.shape[1], dtype=a.dtype)
    for k in range(a.shape[1]):
        column = a[:, k].clone()
        a[:, k] = 0
        out += torch.outer(column, b[k])
    return out
