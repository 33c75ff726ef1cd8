"""Answers to the exercises of 10 · Training."""
import torch
from bank import right, wrong

# slices

@right
def slices(n, bs, drop_last):
    out, start = [], 0
    while start < n:
        stop = start + bs
        if stop > n:
            if drop_last: break
            stop = n
        out.append((start, stop))
        start = stop
    return out

@right
def slices(n, bs, drop_last):
    full, rest = divmod(n, bs)
    out = [(k*bs, k*bs + bs) for k in range(full)]
    if rest and not drop_last: out.append((n - rest, n))
    return out

@wrong("the last end lies beyond the items")
def slices(n, bs, drop_last):
    k = n//bs if drop_last else (n + bs - 1)//bs
    return [(j*bs, (j + 1)*bs) for j in range(k)]

@wrong("the smaller batch is always left out")
def slices(n, bs, drop_last):
    out = []
    for k in range(n//bs): out.append((k*bs, k*bs + bs))
    return out

@wrong("the smaller batch is never left out")
def slices(n, bs, drop_last):
    out, start = [], 0
    while start < n:
        out.append((start, n if start + bs > n else start + bs))
        start += bs
    return out

@wrong("the last batch is left out although it is full")
def slices(n, bs, drop_last):
    starts = list(range(0, n, bs))
    if drop_last: starts.pop() if starts else None
    return [(o, min(n, o + bs)) for o in starts]

@wrong("the end is the last index")
def slices(n, bs, drop_last):
    full, rest = divmod(n, bs)
    out = [(k*bs, (k + 1)*bs - 1) for k in range(full)]
    return out + [(full*bs, n - 1)] if rest and not drop_last else out

@wrong("an empty batch at the end")
def slices(n, bs, drop_last):
    full, rest = divmod(n, bs)
    out = [(k*bs, k*bs + bs) for k in range(full)]
    if not drop_last: out.append((full*bs, n))
    return out

@wrong("where a batch begins and how many it has")
def slices(n, bs, drop_last):
    out = [(o, min(bs, n - o)) for o in range(0, n, bs)]
    return [o for o in out if o[1] == bs] if drop_last else out

# mean_over_items

@right
def mean_over_items(means, sizes):
    total = count = 0
    for m, k in zip(means, sizes):
        total += m*k
        count += k
    return total/count

@right
def mean_over_items(means, sizes):
    weights = torch.tensor(sizes, dtype=torch.float64)
    return (torch.tensor(means, dtype=torch.float64) @ (weights/weights.sum())).item()

@wrong("every batch counts the same")
def mean_over_items(means, sizes): return torch.tensor(means).mean().item()

@wrong("the sum is divided by the number of batches")
def mean_over_items(means, sizes):
    total = 0
    for m, k in zip(means, sizes): total += m*k
    return total/len(sizes)

@wrong("all batches are taken to be as large as the first")
def mean_over_items(means, sizes): return sum(map(lambda m, k: m*k, means, sizes))/(len(means)*sizes[0])

@wrong("the means are added without their sizes")
def mean_over_items(means, sizes):
    total = count = 0
    for m, k in zip(means, sizes):
        total += m
        count += k
    return total/count

@wrong("the last batch is left out")
def mean_over_items(means, sizes):
    if len(means) > 1: means, sizes = means[:-1], sizes[:-1]
    return sum(m*k/sum(sizes) for m, k in zip(means, sizes))

# split_indices

@right
def split_indices(n, n_valid, seed):
    gen = torch.Generator()
    gen.manual_seed(seed)
    valid, train = torch.randperm(n, generator=gen).split([n_valid, n - n_valid])
    return train.tolist(), valid.tolist()

@right
def split_indices(n, n_valid, seed):
    gen = torch.Generator().manual_seed(seed)
    train, valid = [], []
    for k, i in enumerate(torch.randperm(n, generator=gen).tolist()): (valid if k < n_valid else train).append(i)
    return train, valid

@wrong("the two lists are exchanged")
def split_indices(n, n_valid, seed):
    gen = torch.Generator().manual_seed(seed)
    first, rest = torch.randperm(n, generator=gen).split([n_valid, n - n_valid])
    return first.tolist(), rest.tolist()

@wrong("the last ones are for validation")
def split_indices(n, n_valid, seed):
    gen = torch.Generator().manual_seed(seed)
    train, valid = torch.randperm(n, generator=gen).split([n - n_valid, n_valid])
    return train.tolist(), valid.tolist()

@wrong("the order is not random")
def split_indices(n, n_valid, seed):
    idx = [*range(n)]
    return idx[n_valid:], idx[:n_valid]

@wrong("the seed is not used")
def split_indices(n, n_valid, seed):
    valid, train = torch.randperm(n, generator=torch.Generator().manual_seed(0)).split([n_valid, n - n_valid])
    return train.tolist(), valid.tolist()

@wrong("items for validation are trained on")
def split_indices(n, n_valid, seed):
    idx = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return idx.tolist(), idx[:n_valid].tolist()

@wrong("two orders are drawn")
def split_indices(n, n_valid, seed):
    gen = torch.Generator().manual_seed(seed)
    a, b = torch.randperm(n, generator=gen), torch.randperm(n, generator=gen)
    return b[n_valid:].tolist(), a[:n_valid].tolist()

@wrong("the indices are put in order")
def split_indices(n, n_valid, seed):
    idx = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return idx[n_valid:].sort().values.tolist(), idx[:n_valid].sort().values.tolist()

@wrong("the indices for training are put in order")
def split_indices(n, n_valid, seed):
    valid = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:n_valid].tolist()
    return [i for i in range(n) if i not in valid], valid

@wrong("the last ones are for validation, counted from the end")
def split_indices(n, n_valid, seed):
    idx = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    valid = idx[-n_valid:]
    del idx[-n_valid:]
    return idx, valid

# batches_by_length

@right
def batches_by_length(lengths, bs):
    pairs = sorted((k, i) for i, k in enumerate(lengths))
    out = []
    while pairs:
        out.append([i for _, i in pairs[:bs]])
        pairs = pairs[bs:]
    return out

@right
def batches_by_length(lengths, bs):
    order = []
    for k in sorted(set(lengths)): order += [i for i, o in enumerate(lengths) if o == k]
    return [order[a:a+bs] for a in range(0, len(order), bs)]

@wrong("lengths in place of indices")
def batches_by_length(lengths, bs):
    pairs = sorted((k, i) for i, k in enumerate(lengths))
    return [[k for k, _ in pairs[a:a+bs]] for a in range(0, len(pairs), bs)]

@wrong("the longest come first")
def batches_by_length(lengths, bs):
    order = []
    for k in sorted(set(lengths), reverse=True): order += [i for i, o in enumerate(lengths) if o == k]
    return [order[a:a+bs] for a in range(0, len(order), bs)]

@wrong("of equal ones, the later comes first")
def batches_by_length(lengths, bs):
    order = sorted(range(len(lengths))[::-1], key=lengths.__getitem__)
    return [order[a:a+bs] for a in range(0, len(order), bs)]

@wrong("sorted within each batch only")
def batches_by_length(lengths, bs):
    out = []
    for a in range(0, len(lengths), bs): out.append(sorted(range(a, min(a + bs, len(lengths))), key=lengths.__getitem__))
    return out

@wrong("the smaller batch is left out")
def batches_by_length(lengths, bs):
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[k*bs:k*bs+bs] for k in range(len(order)//bs)]

@wrong("the rank of each item")
def batches_by_length(lengths, bs):
    rank = torch.argsort(torch.argsort(torch.tensor(lengths), stable=True)).tolist()
    return [rank[a:a+bs] for a in range(0, len(rank), bs)]

@wrong("each length has batches of its own")
def batches_by_length(lengths, bs):
    out = []
    for k in sorted(set(lengths)):
        same = [i for i, o in enumerate(lengths) if o == k]
        out += [same[a:a+bs] for a in range(0, len(same), bs)]
    return out

@wrong("equal lengths have the same index")
def batches_by_length(lengths, bs):
    order = list(map(lengths.index, sorted(lengths)))
    return [order[a:a+bs] for a in range(0, len(order), bs)]

# pad_collate

@right
def pad_collate(items):
    longest = max(len(o) for o, _ in items)
    rows = [torch.cat([o, o.new_zeros(longest - len(o))]) for o, _ in items]
    return torch.stack(rows), torch.tensor([len(o) for o, _ in items]), torch.tensor([c for _, c in items])

@right
def pad_collate(items):
    xs, ys = [o for o, _ in items], [c for _, c in items]
    return torch.nn.utils.rnn.pad_sequence(xs, batch_first=True), torch.tensor(list(map(len, xs))), torch.tensor(ys)

@wrong("the zeros stand in front")
def pad_collate(items):
    longest = max(len(o) for o, _ in items)
    rows = [torch.cat([o.new_zeros(longest - len(o)), o]) for o, _ in items]
    return torch.stack(rows), torch.tensor([len(o) for o, _ in items]), torch.tensor([c for _, c in items])

@wrong("sequences are cut to the shortest")
def pad_collate(items):
    shortest = min(len(o) for o, _ in items)
    return torch.stack([o[:shortest] for o, _ in items]), torch.tensor([len(o) for o, _ in items]), torch.tensor([c for _, c in items])

@wrong("the padding is not 0")
def pad_collate(items):
    xs, ys = zip(*items)
    return torch.nn.utils.rnn.pad_sequence(xs, batch_first=True, padding_value=-1), torch.tensor([len(o) for o in xs]), torch.tensor(ys)

@wrong("it always gives floats")
def pad_collate(items):
    xs, ys = zip(*items)
    return torch.nn.utils.rnn.pad_sequence([o.float() for o in xs], batch_first=True), torch.tensor([len(o) for o in xs]), torch.tensor(ys)

@wrong("the lengths are those after padding")
def pad_collate(items):
    xs, ys = zip(*items)
    out = torch.nn.utils.rnn.pad_sequence(xs, batch_first=True)
    return out, torch.tensor([len(o) for o in out]), torch.tensor(ys)

@wrong("zeros in the data are not counted")
def pad_collate(items):
    xs, ys = zip(*items)
    return torch.nn.utils.rnn.pad_sequence(xs, batch_first=True), torch.tensor([int(o.count_nonzero()) for o in xs]), torch.tensor(ys)

@wrong("items are in the axis of time")
def pad_collate(items):
    xs, ys = zip(*items)
    return torch.nn.utils.rnn.pad_sequence(xs), torch.tensor([len(o) for o in xs]), torch.tensor(ys)

@wrong("the items are sorted by length")
def pad_collate(items):
    xs, ys = zip(*sorted(items, key=lambda o: len(o[0]), reverse=True))
    return torch.nn.utils.rnn.pad_sequence(xs, batch_first=True), torch.tensor([len(o) for o in xs]), torch.tensor(ys)

@wrong("the classes come before the lengths")
def pad_collate(items):
    xs, ys = zip(*items)
    return torch.nn.utils.rnn.pad_sequence(xs, batch_first=True), torch.tensor(ys), torch.tensor([len(o) for o in xs])
