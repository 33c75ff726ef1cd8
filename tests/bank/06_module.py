"""Answers to the exercises of 06 · Module."""
import torch
from bank import right, wrong
from torch import nn

# dotted_names

@right
def dotted_names(tree):
    out, waiting = [], [("", tree)]
    while waiting:
        path, node = waiting.pop()
        out += [(path + k, o) for k, o in node.items() if isinstance(o, int)]
        waiting += [(f"{path}{k}.", o) for k, o in reversed(node.items()) if isinstance(o, dict)]
    return out

@wrong("children are visited before the rest of their parent")
def dotted_names(tree):
    def walk(node, path):
        for k, o in node.items():
            if isinstance(o, dict): yield from walk(o, [*path, k])
            else: yield ".".join([*path, k]), o
    return list(walk(tree, []))

@wrong("the tree is walked level by level")
def dotted_names(tree):
    out, level = [], [("", tree)]
    while level:
        out += [(path + k, o) for path, node in level for k, o in node.items() if isinstance(o, int)]
        level = [(f"{path}{k}.", o) for path, node in level for k, o in node.items() if isinstance(o, dict)]
    return out

@wrong("the path is missing")
def dotted_names(tree):
    out, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        out += [(k, o) for k, o in node.items() if isinstance(o, int)]
        waiting += [o for o in reversed(node.values()) if isinstance(o, dict)]
    return out

@wrong("names begin with a dot")
def dotted_names(tree):
    def walk(node, path):
        out = [(f"{path}.{k}", o) for k, o in node.items() if isinstance(o, int)]
        for k, o in node.items():
            if isinstance(o, dict): out += walk(o, f"{path}.{k}")
        return out
    return walk(tree, "")

@wrong("children are left out")
def dotted_names(tree): return [o for o in tree.items() if isinstance(o[1], int)]

@wrong("only one level of children is visited")
def dotted_names(tree):
    out = [(k, o) for k, o in tree.items() if isinstance(o, int)]
    return out + [(f"{k}.{n}", v) for k, o in tree.items() if isinstance(o, dict) for n, v in o.items() if isinstance(v, int)]

# count_learned

@right
def count_learned(module):
    seen = {id(p): p for m in module.modules() for p in m.parameters(recurse=False)}
    return sum(p.nelement() for p in seen.values() if p.requires_grad)

@wrong("frozen parameters are counted")
def count_learned(module):
    n = 0
    for _, p in module.named_parameters(): n += p.flatten().shape[0]
    return n

@wrong("tensors are counted, not numbers")
def count_learned(module): return len([p for p in module.parameters() if p.requires_grad])

@wrong("what is shared is counted twice")
def count_learned(module): return sum(t.numel() for t in module.state_dict(keep_vars=True).values() if t.requires_grad)

@wrong("buffers are counted")
def count_learned(module): return sum(module.state_dict()[k].nelement() for k in module.state_dict())

@wrong("the children are left out")
def count_learned(module): return sum(p.numel() for p in module._parameters.values() if p is not None and p.requires_grad)

# key_report

@right
def key_report(have, want):
    missing, unexpected, shapes = [], [], []
    names = [k for k, _ in want]
    for k, _ in have:
        if k not in names: unexpected.append(k)
    for k, s in want:
        found = [t for n, t in have if n == k]
        if not found: missing.append(k)
        elif found[0] != s: shapes.append((k, found[0], s))
    return missing, unexpected, shapes

@wrong("missing and unexpected are exchanged")
def key_report(have, want):
    a, b = dict(have), dict(want)
    return [k for k, _ in have if k not in b], [k for k, _ in want if k not in a], [(k, a[k], s) for k, s in want if a.get(k, s) != s]

@wrong("only the number of elements is compared")
def key_report(have, want):
    a, b = dict(have), dict(want)
    both = [k for k in b if k in a]
    return [k for k in b if k not in a], [k for k in a if k not in b], [(k, a[k], b[k]) for k in both if torch.empty(a[k]).numel() != torch.empty(b[k]).numel()]

@wrong("pairs are compared, not names")
def key_report(have, want):
    a, b = dict(have), dict(want)
    return [o[0] for o in want if o not in have], [o[0] for o in have if o not in want], [(k, a[k], b[k]) for k in b if k in a and a[k] != b[k]]

@wrong("the names are sorted")
def key_report(have, want):
    a, b = dict(have), dict(want)
    return sorted(b.keys() - a.keys()), sorted(a.keys() - b.keys()), sorted((k, a[k], b[k]) for k in a.keys() & b.keys() if a[k] != b[k])

@wrong("it stops at the first list that is not empty")
def key_report(have, want):
    a, b = dict(have), dict(want)
    if missing := [k for k in b if k not in a]: return missing, [], []
    if unexpected := [k for k in a if k not in b]: return [], unexpected, []
    return [], [], [(k, a[k], b[k]) for k in b if a[k] != b[k]]

# call_with_hooks

@right
def call_with_hooks(forward, pre_hooks, hooks, x):
    for hook in pre_hooks: x = x if (y := hook(x)) is None else y
    out = forward(x)
    for hook in hooks: out = out if (y := hook(x, out)) is None else y
    return out

@wrong("a 0 that a hook returns is taken for None")
def call_with_hooks(forward, pre_hooks, hooks, x):
    for hook in pre_hooks:
        if y := hook(x): x = y
    out = forward(x)
    for hook in hooks:
        if y := hook(x, out): out = y
    return out

@wrong("what hooks return is ignored")
def call_with_hooks(forward, pre_hooks, hooks, x):
    for hook in pre_hooks: hook(x)
    out = forward(x)
    for hook in hooks: hook(x, out)
    return out

@wrong("hooks are given the first input")
def call_with_hooks(forward, pre_hooks, hooks, x):
    inp = x
    for hook in pre_hooks:
        y = hook(inp)
        inp = inp if y is None else y
    out = forward(inp)
    for hook in hooks:
        y = hook(x, out)
        out = out if y is None else y
    return out

@wrong("the pre-hooks are left out")
def call_with_hooks(forward, pre_hooks, hooks, x):
    out = forward(x)
    for hook in hooks:
        y = hook(x, out)
        if y is not None: out = y
    return out

@wrong("every hook starts from the beginning")
def call_with_hooks(forward, pre_hooks, hooks, x):
    inp = x
    for hook in pre_hooks:
        y = hook(x)
        if y is not None: inp = y
    first = out = forward(inp)
    for hook in hooks:
        y = hook(inp, first)
        if y is not None: out = y
    return out

# hidden

KEPT = nn.Module, nn.Parameter
OWN = set(nn.Module().__dict__)

def things(o): return list(o.values()) if isinstance(o, dict) else list(o) if isinstance(o, (list, tuple)) else []

@right
def hidden(module):
    out = {}
    for k, o in module.__dict__.items():
        if k in OWN: continue
        for e in things(o):
            if isinstance(e, nn.Module) or isinstance(e, nn.Parameter): out[k] = out.get(k, 0) + 1
    return list(out.items())

@wrong("what is registered is reported too")
def hidden(module):
    counts = {k: len([e for e in things(o) if isinstance(e, KEPT)]) for k, o in module.__dict__.items()}
    return [o for o in counts.items() if o[1]]

@wrong("only lists are searched")
def hidden(module):
    counts = {k: len([e for e in o if isinstance(e, KEPT)]) for k, o in vars(module).items() if type(o) is list}
    return [o for o in counts.items() if o[1]]

@wrong("dictionaries are left out")
def hidden(module):
    counts = {k: len([e for e in o if isinstance(e, KEPT)]) for k, o in vars(module).items() if type(o) in (list, tuple)}
    return [o for o in counts.items() if o[1]]

@wrong("parameters are left out")
def hidden(module):
    counts = {k: len([e for e in things(o) if isinstance(e, nn.Module)]) for k, o in vars(module).items() if k not in OWN}
    return [o for o in counts.items() if o[1]]

@wrong("the attributes are counted, not what they hide")
def hidden(module): return [(k, 1) for k, o in vars(module).items() if k not in OWN and any(isinstance(e, KEPT) for e in things(o))]

@wrong("every list is reported")
def hidden(module): return [(k, len(o)) for k, o in vars(module).items() if k not in OWN and isinstance(o, (list, tuple, dict)) and o]

@wrong("a name that begins with an underscore is left out")
def hidden(module):
    counts = {k: sum(isinstance(e, KEPT) for e in things(o)) for k, o in vars(module).items() if not k.startswith("_")}
    return [o for o in counts.items() if o[1]]

@wrong("the whole list is counted")
def hidden(module):
    return [(k, len(o)) for k, o in vars(module).items() if k not in OWN and any(isinstance(e, KEPT) for e in things(o))]

@wrong("only the first element counts")
def hidden(module): return [(k, 1) for k, o in vars(module).items() if k not in OWN and isinstance(next(iter(things(o)), 0), KEPT)]
