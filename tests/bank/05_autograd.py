"""Answers to the exercises of 05 · Autograd."""
import numpy as np
from bank import right, wrong
from course_lib.autograd import Tensor

# slope

@right
def slope(coeffs, x): # Horner's rule
    t = Tensor([float(x)], requires_grad=True)
    y = t*0
    for c in reversed(coeffs): y = y*t + c
    y.sum().backward()
    return t.grad.item()

@right
def slope(coeffs, x):
    t = Tensor(x, requires_grad=True)
    sum((c*t**i for i, c in enumerate(coeffs)), Tensor(0.)).backward()
    return t.grad.item()

@right
def slope(coeffs, x): return float(sum(i*c*float(x)**(i - 1) for i, c in enumerate(coeffs) if i))

@wrong("the polynomial's value is returned")
def slope(coeffs, x):
    t = Tensor(float(x), requires_grad=True)
    y = 0.
    for i, c in enumerate(coeffs): y = y + c*t**i
    y.backward()
    return y.item()

@wrong("the powers start at 1")
def slope(coeffs, x):
    t = Tensor(float(x), requires_grad=True)
    y = t*0
    for i, c in enumerate(coeffs, 1): y = y + c*t**i
    y.backward()
    return float(t.grad)

@wrong("the highest power comes first")
def slope(coeffs, x):
    t = Tensor(float(x), requires_grad=True)
    y = t*0
    for c in coeffs: y = y*t + c
    y.backward()
    return float(t.grad)

@wrong("the factor in front is missing")
def slope(coeffs, x): return float(sum(c*x**i for i, c in enumerate(coeffs[1:])))

# sum_back

@right
def sum_back(g, shape):
    g = np.array(g)
    shape_ = (1,)*(g.ndim - len(shape)) + tuple(shape)
    return g.sum(tuple(i for i, n in enumerate(shape_) if n == 1), keepdims=True).reshape(shape).tolist()

@right
def sum_back(g, shape):
    t = Tensor(np.zeros(shape), requires_grad=True)
    (t + np.zeros(np.shape(g))).backward(g)
    return t.grad.tolist()

@wrong("axes of size 1 are lost")
def sum_back(g, shape):
    g = np.array(g)
    full = (1,)*(g.ndim - len(shape)) + tuple(shape)
    return g.sum(tuple(i for i, n in enumerate(full) if n == 1)).tolist()

@wrong("only added axes are summed")
def sum_back(g, shape):
    g = np.array(g)
    return g.sum(tuple(range(g.ndim - len(shape)))).tolist()

@wrong("the mean is taken")
def sum_back(g, shape):
    g = np.array(g)
    full = (1,)*(g.ndim - len(shape)) + tuple(shape)
    return g.mean(tuple(i for i, n in enumerate(full) if n == 1), keepdims=True).reshape(shape).tolist()

@wrong("the first copy is taken")
def sum_back(g, shape):
    g = np.array(g)
    g = g[(0,)*(g.ndim - len(shape))]
    for axis, n in enumerate(shape):
        if n == 1: g = np.take(g, [0], axis)
    return g.tolist()

# scatter_add

@right
def scatter_add(g, index, n):
    out = np.zeros(n)
    np.add.at(out, np.array(index, dtype=int), g)
    return out.tolist()

@right
def scatter_add(g, index, n): return np.bincount(np.array(index, dtype=int) % n, weights=g, minlength=n).tolist()

@wrong("the last one wins")
def scatter_add(g, index, n):
    out = [0.]*n
    for i, o in zip(index, g): out[i] = o
    return out

@wrong("the last one wins")
def scatter_add(g, index, n):
    out = np.zeros(n)
    out[np.array(index, dtype=int)] += np.array(g)
    return out.tolist()

@wrong("places are counted")
def scatter_add(g, index, n):
    out = [0.]*n
    for i in index: out[i] += 1
    return out

@wrong("places from the end are left out")
def scatter_add(g, index, n):
    out = dict.fromkeys(range(n), 0.)
    for i, o in zip(index, g):
        if i in out: out[i] += o
    return list(out.values())

@wrong("the list ends at the last place picked")
def scatter_add(g, index, n):
    index = [i % n for i in index]
    out = [0.]*(max(index) + 1 if index else 0)
    for i, o in zip(index, g): out[i] += o
    return out

# share_max

@right
def share_max(x, g):
    won = np.array(x) == np.max(x)
    return (g*won/won.sum()).tolist()

@right
def share_max(x, g):
    t = Tensor(x, requires_grad=True)
    t.max().backward(g)
    return t.grad.tolist()

@wrong("each winner gets all of it")
def share_max(x, g): return (g*(np.array(x) == max(x))).tolist()

@wrong("the first winner gets all of it")
def share_max(x, g):
    out = np.zeros(len(x))
    out[np.argmax(x)] = g
    return out.tolist()

@wrong("it is shared among all elements")
def share_max(x, g): return np.full(len(x), g/len(x)).tolist()

@wrong("the gradient that arrives is ignored")
def share_max(x, g):
    won = np.array(x) == np.max(x)
    return (won/won.sum()).tolist()

# ways

@right
def ways(inputs, root):
    found, todo = {}, [root]
    users = {}
    seen = {root}
    while todo: # who uses whom, among what can be reached
        name = todo.pop()
        for o in inputs.get(name, []):
            users.setdefault(o, []).append(name)
            if o not in seen:
                seen.add(o)
                todo.append(o)
    found[root], todo = 1, list(seen - {root})
    while todo:
        name = todo.pop()
        if name in found: continue
        missing = [o for o in users[name] if o not in found]
        if missing: todo += [name, *missing]
        else: found[name] = sum(found[o] for o in users[name])
    return found

@wrong("a name is passed on before it is complete")
def ways(inputs, root):
    from collections import deque
    found, queue, done = {root: 1}, deque([root]), set()
    while queue:
        name = queue.popleft()
        if name in done: continue
        done.add(name)
        for o in inputs.get(name, ()):
            found.setdefault(o, 0)
            found[o] += found[name]
            queue.append(o)
    return found

@wrong("every way is walked")
def ways(inputs, root):
    found = {}
    def walk(name):
        found[name] = found.get(name, 0) + 1
        for o in inputs.get(name, []): walk(o)
    walk(root)
    return found

@wrong("every way is walked")
def ways(inputs, root):
    found, todo = {}, [root]
    for name in todo: # grows while it is read
        found[name] = found.get(name, 0) + 1
        if name in inputs: todo.extend(inputs[name])
    return found

@wrong("the recursion goes too deep")
def ways(inputs, root):
    users, found = {}, {}
    def walk(name, user):
        users.setdefault(name, []).append(user)
        if len(users[name]) == 1:
            for o in inputs.get(name, []): walk(o, name)
    walk(root, None)
    def count(name):
        if name is None: return 1
        if name not in found: found[name] = sum(count(o) for o in users[name])
        return found[name]
    return {o: count(o) for o in users}

@right
def ways(inputs, root): # round after round, all ways one step longer
    found, ends = {root: 1}, {root: 1}
    while ends:
        longer = {}
        for name, n in ends.items():
            for o in inputs.get(name, []): longer[o] = longer.get(o, 0) + n
        for o, n in longer.items(): found[o] = found.get(o, 0) + n
        ends = longer
    return found

@wrong("an input that stands twice counts once")
def ways(inputs, root):
    order, seen, todo = [], set(), [(root, False)]
    while todo:
        name, done = todo.pop()
        if done: order.append(name)
        elif name not in seen:
            seen.add(name)
            todo += [(name, True), *((o, False) for o in inputs.get(name, []))]
    found = {root: 1}
    for name in reversed(order):
        for o in set(inputs.get(name, [])): found[o] = found.get(o, 0) + found[name]
    return found

@wrong("every name has one way")
def ways(inputs, root):
    found, todo = {}, [root]
    while todo:
        name = todo.pop()
        if name in found: continue
        found[name] = 1
        todo += inputs.get(name, [])
    return found
