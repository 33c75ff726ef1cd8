"""Runs one returned notebook and then, asked by grade.py, its functions. It never judges: it only sends back values.

Not meant to be called by hand. Requests and replies are one line of JSON each, on what was standard input and output when it began; the
notebook itself gets neither.
"""
import base64, json, os, pickle, sys
import torch
from course_lib import exercises

def pack(value: object, stores: list, own: bool = False) -> object:
    "`value` as JSON. What is `own`, an argument that grade.py made, may also be a module, which is pickled. Tensors keep their strides, and tensors that share memory go on sharing it: the bytes are put into `stores`."
    if value is None or isinstance(value, (bool, int, float, str)): return value
    if isinstance(value, bytes): return ["bytes", base64.b64encode(value).decode()]
    if isinstance(value, dict): return ["dict", [[pack(k, stores, own), pack(v, stores, own)] for k, v in value.items()]]
    if isinstance(value, (list, tuple)): return ["list" if isinstance(value, list) else "tuple", [pack(o, stores, own) for o in value]]
    if own and isinstance(value, torch.nn.Module): return ["pickle", base64.b64encode(pickle.dumps(value)).decode()]
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.device.type != "cpu": return ["other", type(value).__name__]
    key = value.untyped_storage().data_ptr()
    found = [i for i, o in enumerate(stores) if o[0] == key and key]
    if not found:
        raw = torch.empty(0, dtype=torch.uint8).set_(value.detach().untyped_storage())
        stores.append((key, base64.b64encode(raw.numpy().tobytes()).decode()))
    i = found[0] if found else len(stores) - 1
    return ["tensor", i, str(value.dtype).removeprefix("torch."), list(value.shape), list(value.stride()), value.storage_offset()]

class Other:
    "Stands for a value that cannot be sent."
    def __init__(self, name): self.name = name
    def __repr__(self): return f"a {self.name}"

def unpack(value: object, stores: list[torch.Tensor], own: bool = False) -> object:
    "The value that `pack` packed; `stores` are tensors of bytes. Nothing is unpickled that is not `own`."
    if not isinstance(value, list): return value
    kind, *rest = value
    if kind == "bytes": return base64.b64decode(rest[0])
    if kind in ("list", "tuple"): return (list if kind == "list" else tuple)(unpack(o, stores, own) for o in rest[0])
    if kind == "pickle" and own: return pickle.loads(base64.b64decode(rest[0]))
    if kind == "dict": return {unpack(k, stores, own): unpack(v, stores, own) for k, v in rest[0]}
    if kind != "tensor": return Other(str(rest[0])[:40])
    i, dtype, shape, stride, offset = rest
    dtype, store = getattr(torch, dtype), stores[i]
    if torch.Size(shape).numel()*dtype.itemsize > len(store): raise ValueError("a tensor larger than its memory")
    return torch.empty(0, dtype=dtype).set_(store.untyped_storage(), offset, shape, stride)

def dumps(value: object, own: bool = False) -> dict:
    stores = []
    what = pack(value, stores, own)
    return dict(value=what, stores=[o for _, o in stores])

def loads(message: dict, own: bool = False) -> object:
    stores = [torch.frombuffer(bytearray(base64.b64decode(o)), dtype=torch.uint8) if o else torch.empty(0, dtype=torch.uint8) for o in message["stores"]]
    return unpack(message["value"], stores, own)

def limits(memory: int, seconds: int) -> None:
    "No more than so many bytes of memory beyond what is in use, and so many seconds of processor; where the system can."
    try: import resource
    except ImportError: return # Windows: grade.py watches from outside
    hard = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 64 << 20), (resource.RLIMIT_CPU, seconds)]
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as f: hard.append((resource.RLIMIT_AS, int(f.read().split()[0])*resource.getpagesize() + memory))
    for what, value in hard: resource.setrlimit(what, (value, value))

def stay_home(closed: list[str]) -> None:
    "From now on: no other process, no network, no writing outside this folder, no reading in the folders `closed`."
    home, real, sep = os.path.realpath("."), os.path.realpath, os.sep
    closed = [real(o) for o in closed]
    never = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.kill", "pty.", "socket.connect", "socket.bind", "socket.send", "socket.getaddrinfo")
    writes = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate", "os.utime", "shutil.rmtree")
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    strings, names, fspath, fsdecode = (str, bytes), ("listdir", "scandir"), os.fspath, os.fsdecode
    def inside(path, folder): return path == folder or path.startswith(folder + sep)
    def watch(event, args):
        if event.startswith(never): raise PermissionError(f"{event} is not allowed while a notebook is graded")
        if event == "open": paths, write = args[:1], bool((args[2] or 0) & flags)
        elif event in writes: paths, write = args[:2], True
        elif event.removeprefix("os.") in names: paths, write = args[:1], False
        else: return
        for o in paths:
            if hasattr(o, "__fspath__"): o = fspath(o)
            if not isinstance(o, strings) or not o: continue
            path = real(fsdecode(o))
            if write and not inside(path, home) and path != "/dev/null": raise PermissionError(f"writing outside the folder of this run is not allowed: {path}")
            if any(inside(path, c) for c in closed): raise PermissionError(f"reading {path} is not allowed while a notebook is graded")
    sys.addaudithook(watch)

def shell():
    "An IPython that runs cells: it knows magics, goes on after errors, and keeps no history."
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config
    return InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))

def reply(ask: dict, found: dict) -> dict:
    "What comes of calling the function that `ask` names on its cases."
    f = found.get(ask["name"])
    if not callable(f): return dict(missing=True)
    if exercises.is_stub(f): return dict(stub=True)
    ex = exercises.Exercise("", None, {str(i): (lambda o=o: loads(o, own=True)) for i, o in enumerate(ask["cases"])}, [])
    return dict(outcomes=[said(o) for o in exercises.outcomes(f, ex, ask["seconds"])])

def said(o: exercises.Outcome) -> dict:
    "An outcome as JSON."
    if o.error is not None: return dict(error=[c.__name__ for c in type(o.error).__mro__], message=str(o.error)[:1000])
    try: return dict(dumps(o.value), changed=o.changed)
    except Exception as e: return dict(error=[type(e).__name__], message="the value cannot be sent")

def main():
    inp, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for i in range(3): os.dup2(nothing, i)
    ask = json.loads(inp.readline())
    ip = shell()
    for o in ("check", "hint", "solution", "progress"): setattr(exercises, o, lambda *args, **kwargs: None) # grade.py does the checking
    limits(ask["memory"], ask["seconds"])
    stay_home(ask["closed"])
    for o in ask["cells"]: ip.run_cell(o, silent=True)
    out.write(b'{"ready": true}\n')
    out.flush()
    for line in inp:
        out.write(json.dumps(reply(json.loads(line), ip.user_ns)).encode() + b"\n")
        out.flush()

if __name__ == "__main__": main()
