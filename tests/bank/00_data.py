"""Answers to the exercises of 00 · Data."""
import struct
import numpy as np, torch
from bank import right, wrong

# idx_header

@right
def idx_header(data):
    if data[0] or data[1]: raise ValueError("not an IDX file")
    return list(struct.unpack_from(">" + "I"*data[3], data, 4))

@right
def idx_header(data):
    assert_zero = data[:2] == bytes(2)
    if not assert_zero: raise ValueError
    sizes, rest = [], data[4:]
    for _ in range(data[3]):
        size = 0
        for byte in rest[:4]: size = size*256 + byte
        sizes.append(size)
        rest = rest[4:]
    return tuple(sizes)

@wrong("the bytes are read in the wrong order")
def idx_header(data):
    if data[:2] != b"\0\0": raise ValueError
    return struct.unpack(f"<{data[3]}I", data[4:4 + 4*data[3]])

@wrong("the sizes are read as signed numbers")
def idx_header(data):
    if data[:2] != b"\0\0": raise ValueError
    return tuple(np.frombuffer(data, ">i4", count=data[3], offset=4).tolist())

@wrong("the first four bytes are taken for a size")
def idx_header(data):
    if data[:2] != b"\0\0": raise ValueError
    return struct.unpack_from(f">{data[3]}I", data)

@wrong("it takes any file for an IDX file")
def idx_header(data): return struct.unpack_from(f">{data[3]}I", data, 4)

@wrong("it takes any file for an IDX file")
def idx_header(data):
    ends = range(8, 8 + 4*data[3], 4)
    return [int.from_bytes(data[o - 4:o]) for o in ends]

@wrong("only one byte of each size is read")
def idx_header(data):
    if data[:2] != b"\0\0": raise ValueError
    return list(data[7:4 + 4*data[3]:4])

@wrong("the number of axes is taken for granted")
def idx_header(data):
    if data[:2] != b"\0\0": raise ValueError
    n, h, w = struct.unpack(">III", data[4:16])
    return n, h, w

# write_idx

@right
def write_idx(x):
    out = bytearray([0, 0, 8, x.dim()])
    for size in x.shape: out += struct.pack(">I", size)
    out += x.contiguous().numpy().tobytes()
    return bytes(out)

@wrong("the sizes are written in the wrong order of bytes")
def write_idx(x):
    return bytes([0, 0, 8, x.ndim]) + np.array(x.shape, dtype="<u4").tobytes() + x.numpy().tobytes()

@wrong("each size gets one byte, and the elements follow in the wrong place")
def write_idx(x):
    return b"\0\0\x08" + bytes([x.ndim]) + bytes(list(x.shape)) + x.numpy().tobytes()

@wrong("the elements are written as they lie in memory")
def write_idx(x):
    base = x if x._base is None else x._base
    return struct.pack(f">4B{x.ndim}I", 0, 0, 8, x.ndim, *x.shape) + base.contiguous().numpy().tobytes()

@wrong("the header is missing")
def write_idx(x):
    return x.numpy().tobytes()

@wrong("the number of axes is taken for granted")
def write_idx(x):
    return bytes([0, 0, 8, 3]) + b"".join(struct.pack(">I", o) for o in x.shape) + x.numpy().tobytes()

@wrong("it returns nothing")
def write_idx(x):
    print(bytes([0, 0, 8, x.ndim]))

# to_float

@right
def to_float(x):
    n, h, w = x.shape
    return torch.tensor(x.reshape(n, h*w).tolist(), dtype=torch.float32).reshape(n, h*w).div(255.)

@right
def to_float(x): return x.to(torch.float32).reshape(x.shape[0], x.shape[1]*x.shape[2]).mul(1/255)

@wrong("the pixels still go up to 255")
def to_float(x): return x.reshape(x.shape[0], x.shape[1]*x.shape[2]).to(torch.float32)

@wrong("255 does not become 1")
def to_float(x): return x.flatten(1)/256

@wrong("each set of pictures is divided by its own largest pixel")
def to_float(x):
    rows = x.float().flatten(start_dim=1)
    return rows/rows.max()

@wrong("the pictures are not laid out as rows")
def to_float(x): return x/255.

@wrong("the numbers are float64")
def to_float(x): return x.double().flatten(1).div(255)

@wrong("it works only while the pictures lie one after another in memory")
def to_float(x): return x.view(x.size(0), x.size(1)*x.size(2))/255

@wrong("it fails when there are no pictures")
def to_float(x): return x.reshape(x.shape[0], -1)/255

@wrong("all pictures end up in one row")
def to_float(x): return x.reshape(-1)/255

# standardize

@right
def standardize(train, valid):
    n = train.numel()
    mean = train.double().sum()/n
    std = ((train.double() - mean)**2).sum().div(n - 1).sqrt()
    return [((o.double() - mean)/std).to(o.dtype) for o in (train, valid)]

@wrong("the validation set is measured by itself")
def standardize(train, valid):
    def scale(x): return (x - x.mean())/x.std()
    return scale(train), scale(valid)

@wrong("both sets are measured together")
def standardize(train, valid):
    everything = torch.vstack([train, valid])
    m, s = everything.mean(), everything.std()
    return (train - m)/s, (valid - m)/s

@wrong("every column has a mean and std of its own")
def standardize(train, valid):
    m, s = train.mean(dim=0, keepdim=True), train.std(dim=0, keepdim=True)
    return (train - m)/s, (valid - m)/s

@wrong("it divides by the variance")
def standardize(train, valid):
    m, v = train.mean(), train.std()**2
    return (train - m)/v, (valid - m)/v

@wrong("the spread is not made 1")
def standardize(train, valid): return train - train.mean(), valid - train.mean()

@wrong("the std divides by N, not by N - 1")
def standardize(train, valid):
    m = train.mean()
    s = (train - m).square().mean().sqrt()
    return (train - m)/s, (valid - m)/s

@wrong("it changes its argument")
def standardize(train, valid):
    m, s = train.mean().clone(), train.std().clone()
    for o in (train, valid): o.sub_(m).div_(s)
    return train, valid

# split_last

@right
def split_last(x, n_valid): return torch.split(x, [len(x) - n_valid, n_valid])

@right
def split_last(x, n_valid):
    keep = torch.arange(len(x)) < len(x) - n_valid
    return [x[keep], x[~keep]]

@wrong("it goes wrong when nothing is kept aside")
def split_last(x, n_valid):
    valid = x[-n_valid:]
    return x[:-n_valid], valid

@wrong("the first rows are kept aside, not the last")
def split_last(x, n_valid):
    valid, train = x.split([n_valid, len(x) - n_valid])
    return train, valid

@wrong("the two parts are handed back in the wrong order")
def split_last(x, n_valid):
    train, valid = x.split([len(x) - n_valid, n_valid])
    return valid, train

@wrong("n_valid is taken for the size of the training part")
def split_last(x, n_valid): return x.split([n_valid, len(x) - n_valid])

@wrong("the training part still holds the rows that were kept aside")
def split_last(x, n_valid): return x.clone(), x[x.shape[0] - n_valid:]
