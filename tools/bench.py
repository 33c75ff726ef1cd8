"""Time what the course claims about speed, on this machine; write the table, a picture and a JSON file to _build/."""
import argparse, os, sys
from chapters import ROOT

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1") # NumPy reads it when it is imported; PyTorch's threads are set row by row

def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quick", action="store_true", help="one thread, and about a third of a second for each row")
    p.add_argument("--only", metavar="WORDS", default="", help="only the rows whose name contains these, as 'LayerNorm' or 'Adam, 100'")
    p.add_argument("--out", type=str, default=str(ROOT/"_build"/"benchmarks.json"), help="the JSON file; the picture goes beside it (default: _build/benchmarks.json)")
    args = p.parse_args()
    import matplotlib
    matplotlib.use("agg")
    from pathlib import Path
    from course_lib.benchmarks import ROWS, benchmark, plot_results, save_results
    rows = [o for o in ROWS if args.only.lower() in o.name.lower()]
    if not rows: p.error(f"no row has {args.only!r} in its name; nbs/C_benchmarks.ipynb has them all")
    results = benchmark(rows, threads=[1], budget=0.3) if args.quick else benchmark(rows)
    print(results)
    save_results(results, args.out)
    print(f"written: {args.out}")
    if all(o.reference is None for o in results): return # there is no ratio to draw
    picture = Path(args.out).with_suffix(".png")
    plot_results(results).savefig(picture, dpi=150)
    print(f"written: {picture}")

if __name__ == "__main__":
    try: main()
    except KeyboardInterrupt: sys.exit("Interrupted: nothing was written.")
