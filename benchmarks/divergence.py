"""The analysis of weights beside scipy: does it say the same, how much faster is it, and does a 7B pair fit in 3 GiB?

OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 python benchmarks/divergence.py parity
... speed FOLDER [CHECKPOINTS]     # a made series in the shape of a 300 M Llama: its ends and one layer
... large FOLDER                   # two made checkpoints in Llama-2-7B's shape, 27 GB
"""

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import scipy.linalg
import torch
import yaml
from safetensors.torch import save_file

from analyze.distances import EPS, Matrix, subspace_angle
from analyze.embeddings import changes
from analyze.measures import compare
from analyze.tensors import describe, open_model
from snakmodel.comparisons import GROUPS
from snakmodel.series import Checkpoint, read_series, write_series

ROOT = Path(__file__).resolve().parent.parent
PAPERS = ["change", "subspace_angle"]
SMALL = {"layers": 18, "hidden": 1024, "intermediate": 2816, "vocabulary": 32_000}  # 298 M parameters
LARGE = {"layers": 32, "hidden": 4096, "intermediate": 11008, "vocabulary": 32_000}  # Llama-2-7B: 6.7 B
LAYER = "model.layers.{}."
Shapes = dict[str, tuple[int, ...]]


def shapes(layers: int, hidden: int, intermediate: int, vocabulary: int) -> list[Shapes]:
    """File -> tensor -> shape: a file for the embeddings, and one a layer."""
    square = {f"self_attn.{name}_proj": (hidden, hidden) for name in "qkvo"}
    wide = {"mlp.gate_proj": (intermediate, hidden), "mlp.up_proj": (intermediate, hidden)}
    layer: Shapes = {**square, **wide, "mlp.down_proj": (hidden, intermediate)}
    layer |= {"input_layernorm": (hidden,), "post_attention_layernorm": (hidden,)}
    ends = {"model.embed_tokens.weight": (vocabulary, hidden), "lm_head.weight": (vocabulary, hidden)}
    files: list[Shapes] = [{**ends, "model.norm.weight": (hidden,)}]
    return files + [{f"{LAYER.format(i)}{name}.weight": s for name, s in layer.items()} for i in range(layers)]


def make_series(folder: Path, sizes: dict[str, int], checkpoints: int) -> Path:
    """A base with random weights and checkpoints that drift away from it, bfloat16; made once. Its recipe."""
    files, rows = shapes(**sizes), []
    for step in range(checkpoints + 1):
        place = folder / f"models/step-{step:05d}"
        place.mkdir(parents=True, exist_ok=True)
        rows.append({"step": step, "location": place, "parent": None})
        for number, tensors in enumerate(files):
            path = place / f"model-{number + 1:05d}-of-{len(files):05d}.safetensors"
            if not path.is_file():
                save_file({name: make_tensor(name, shape, step) for name, shape in tensors.items()}, path)
    write_series(folder / "models", "made", rows)
    recipe = {"run_dir": str(folder), "weights": {}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "recipe.yaml"


def make_tensor(name: str, shape: tuple[int, ...], step: int) -> torch.Tensor:
    """Of step 0 at an initialiser's size; each step adds a tenth of that, other for each tensor and step."""
    seed = sum(name.encode()) * 1_000_003 + len(name)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul_(0.02)
    if step:
        values.add_(torch.randn(shape, generator=torch.Generator().manual_seed(seed + step)), alpha=0.002 * step**0.5)
    return values.bfloat16()


def parity() -> None:
    """Ours beside scipy in float32, and beside scipy's own formula in float64 on the ranks of float32: the reference.

    In float32 scipy's rank is the paper's, but its angles carry rounding that depends on the machine's BLAS.
    """
    generator, other_ranks, largest = np.random.default_rng(0), 0, 0.0
    rounding: dict[str, float] = {}
    for rows, columns in ((600, 200), (300, 300), (200, 600), (1500, 500), (700, 700), (500, 1500)):
        a = generator.standard_normal((rows, columns))
        b = a + 0.1 * generator.standard_normal((rows, columns))
        dead, equal = [x.copy() for x in (a, b)], [x.copy() for x in (a, b)]
        for number, x in enumerate(dead):
            x[number : number + 9] = 0
        for number, x in enumerate(equal):
            x[:, number : 8 * columns // 9] = x[:, [number]]
        smooth = smooth_pair(rows, columns, generator)
        kinds = {"full rank": (a, b), "dead rows": dead, "equal columns": equal, "smooth": smooth}
        for kind, pair in kinds.items():
            kept = torch.float32 if kind == "smooth" else torch.bfloat16  # whose rounding alone makes full rank
            one, other = (torch.from_numpy(x).to(kept).float() for x in pair)
            first, second, change = Matrix(one), Matrix(other), Matrix(other - one)
            ours, ranks = subspace_angle(first, second, change), (first.rank, second.rank)
            in_float32 = np.degrees(np.mean(scipy.linalg.subspace_angles(one.numpy(), other.numpy())))
            told = tuple(scipy.linalg.orth(x.numpy()).shape[1] for x in (one, other))
            cutoff = EPS * max(rows, columns)
            bases = [scipy.linalg.orth(x.double().numpy(), rcond=cutoff) for x in (one, other)]
            exact = np.degrees(np.mean(scipy.linalg.subspace_angles(*bases)))
            other_ranks += ranks != told
            largest = max(largest, abs(ours - exact) / exact if exact > 1e-3 else 0.0)
            rounding[kind] = max(rounding.get(kind, 0.0), abs(in_float32 - exact))
            print(f"{rows:>5} x {columns:<5}{kind:<14} ranks {ranks} scipy's {told}   ours {ours:.6f}", end="   ")
            print(f"scipy float32 {in_float32:.6f}, float64 {exact:.6f} degrees", flush=True)
    print(f"other ranks: {other_ranks}; largest relative difference from float64: {largest:.1e}")
    rest = [f"float32, {kind} {degrees:.1e}" for kind, degrees in rounding.items()]
    print(f"scipy in float32 from its float64, degrees at most: {'; '.join(rest)}")


def smooth_pair(rows: int, columns: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Spectra that fall smoothly across the threshold of rank, without a singular value within 3 % of it."""
    size, threshold = min(rows, columns), max(rows, columns) * EPS
    values = np.logspace(0, -6, size)
    values[np.abs(values / threshold - 1) < 0.03] *= 0.9
    left, right = (np.linalg.qr(generator.standard_normal((side, size)))[0] for side in (rows, columns))
    turned = np.linalg.qr(left + 0.01 * generator.standard_normal(left.shape))[0]
    return left * values @ right.T, turned * values @ right.T


def speed(folder: Path, checkpoints: int = 8) -> None:
    """The paper's numbers of a series: each tensor of one layer and the ends, ours and scipy's way by turns.

    Ours reads and decomposes the base once and takes all checkpoints; scipy's way has no use of that, and takes one.
    """
    make_series(folder, SMALL | {"layers": 1}, checkpoints)
    base, *later = (open_model(c) for c in read_series(folder / "models"))
    every, total = np.arange(SMALL["vocabulary"])[:, None].repeat(2, axis=1), np.zeros((2, 2))

    def ours(name: str) -> None:
        one = base.read(name)
        before = Matrix(one) if one.ndim == 2 else one
        for model in later:
            other = model.read(name)
            list(compare(before, Matrix(other) if other.ndim == 2 else other, PAPERS, 8, 0.5))
            if describe(name)["layer"] is None and other.ndim == 2:
                changes(one, other, every)

    for name in base.tensors:
        mine = timed(lambda name=name: ours(name))
        direct = checkpoints * timed(lambda name=name: directly(base.read(name), later[-1].read(name)))
        total += np.stack([mine, direct]) * (1 if describe(name)["layer"] is None else SMALL["layers"])
        print(f"{name}: {mine[0]:.2f} and {direct[0]:.2f} s, {mine[1]:.2f} and {direct[1]:.2f} CPU s", flush=True)
    for what, (seconds, cpu) in zip(("ours", "scipy's way"), total, strict=True):
        print(f"{what}, {checkpoints} checkpoints of {SMALL['layers']} layers: {seconds:,.0f} s, {cpu:,.0f} CPU s")
    print("ours is {:.1f} times as fast, {:.1f} times by CPU time".format(*(total[1] / total[0])))
    square = f"{LAYER.format(0)}self_attn.q_proj.weight"
    one, first, other = (model.read(square) for model in (base, later[0], later[-1]))
    one[:16], first[8:24], other[8:24] = 0, 0, 0  # the base has full rank no more, so every step is decomposed
    before = Matrix(one)
    list(compare(before, Matrix(first), PAPERS, 8, 0.5))
    mine = timed(lambda: list(compare(before, Matrix(other), PAPERS, 8, 0.5)))
    ratios = timed(lambda: directly(one, other)) / mine
    print("a square matrix with dead rows: {:.1f} times, {:.1f} times by CPU time".format(*ratios))


def directly(before: torch.Tensor, after: torch.Tensor) -> tuple[Any, ...]:
    """The paper's way, for one tensor of two models, read as float32: delta; of a matrix, also angle and rows' l1."""
    a, b = before.float().numpy(), after.float().numpy()
    delta = float(np.mean(np.abs(a - b)))
    if a.ndim == 2:
        return delta, np.degrees(np.mean(scipy.linalg.subspace_angles(a, b))), np.abs(a - b).sum(1)
    return (delta,)


def timed(work: Callable[..., object], who: int = resource.RUSAGE_SELF) -> np.ndarray:
    """[seconds, CPU seconds] of some work."""
    before, begun = resource.getrusage(who), time.monotonic()
    work()
    after = resource.getrusage(who)
    cpu = sum(getattr(after, key) - getattr(before, key) for key in ("ru_utime", "ru_stime"))
    return np.array([time.monotonic() - begun, cpu])


def large(folder: Path) -> None:
    """The cheap measures of every tensor with the memory that they took, then each measure's time by shape."""
    recipe = make_series(folder, LARGE, 1)
    command = [sys.executable, "analyze/weights.py", "--config", str(recipe), "measures=change,norm", "--overwrite"]
    peak = 0

    def watch() -> None:
        nonlocal peak
        process = psutil.Popen(command, cwd=ROOT)
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text().split()
            peak = max(peak, int(status[status.index("RssAnon:") + 1]) if "RssAnon:" in status else 0)
            time.sleep(0.05)
        assert process.returncode == 0

    done = timed(watch, resource.RUSAGE_CHILDREN)
    print(f"change, norm of all tensors: {done[0]:,.0f} s, {done[1]:,.0f} CPU s, {peak / 2**20:.2f} GiB anonymous")
    before, after = (open_model(Checkpoint(0, str(folder / f"models/step-{step:05d}"), {})) for step in (0, 1))
    total = dict.fromkeys(GROUPS, 0.0)
    for shape, count in Counter(s for s in before.shapes.values() if len(s) == 2).items():
        name = next(name for name, mine in before.shapes.items() if mine == shape)
        one, other = Matrix(before.read(name)), Matrix(after.read(name))  # a later group finds what earlier ones made
        for group in GROUPS:
            seconds = timed(lambda one=one, other=other, group=group: list(compare(one, other, [group], 8, 0.5)))
            total[group] += count * seconds[1]
            print(f"{count:>4} of {shape}: {group}: {seconds[0]:.1f} s, {seconds[1]:.1f} CPU s each", flush=True)
    print("projected CPU hours of a 7B step:", json.dumps({group: round(s / 3600, 2) for group, s in total.items()}))


if __name__ == "__main__":
    part, *words = sys.argv[1:]
    parts: dict[str, Callable[..., None]] = {"parity": parity, "speed": speed, "large": large}
    parts[part](*map(Path, words[:1]), *map(int, words[1:]))
