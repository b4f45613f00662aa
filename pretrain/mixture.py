"""Which text each optimiser step reads, as a pure function of its number.

Nothing depends on how many ranks run or when the run was last interrupted, so a resumed run repeats itself and there
is nothing to fast-forward. Text comes in pools: all sources together, or one pool for each source that has a share of
its own, one for the others, and one for what is replayed.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pretrain.recipe import Settings, total_steps
from snakmodel.config import BadInput
from snakmodel.settings import nearest
from snakmodel.shards import ShardReader, TokenStream

BLOCK = 10_000  # sequences after which every pool has had exactly its share


@dataclass(frozen=True)
class Pool:
    """Text that is drawn from evenly: every window once before any a second time."""

    name: str
    share: float  # of the training tokens
    stream: TokenStream

    def epochs(self, s: Settings) -> float:
        """How often the run sees this text."""
        return self.share * total_steps(s) * s.global_batch / len(self.stream)


def make_pools(s: Settings, shards: list[ShardReader], replayed: list[ShardReader], where: object) -> list[Pool]:
    """The pools of a recipe; their shares sum to 1. Raises BadInput for shares that the text cannot give."""
    by_source = {shard.prefix.parent.name: shard for shard in shards}
    for name in s.shares:
        if name not in by_source:
            raise BadInput(f"{where}: pretrain.shares.{name} is no source; {nearest(name, tuple(by_source))}")
    rest = [shard for name, shard in by_source.items() if name not in s.shares]
    taken = sum(s.shares.values()) + (s.replay.share if s.replay else 0)
    drawn = [(name, share, [by_source[name]]) for name, share in s.shares.items()]
    if rest and taken < 1 - 1e-9:
        drawn.append(("the others" if s.shares else "all sources", 1 - taken, rest))
    elif rest:
        names = ", ".join(shard.prefix.parent.name for shard in rest)
        raise BadInput(f"{where}: pretrain.shares leave nothing for {names}; give less, or leave the source out")
    elif taken < 1 - 1e-9:
        raise BadInput(f"{where}: pretrain.shares of all sources sum to {taken:g}, not 1")
    if s.replay:
        drawn.append(("replay", s.replay.share, replayed))
    pools = [Pool(name, share, TokenStream(readers, s.sequence_length)) for name, share, readers in drawn]
    for pool in pools:
        if not len(pool.stream):
            most = max(len(shard.tokens) for shard in pool.stream.shards)
            raise BadInput(
                f"{where}: the largest source of {pool.name} has {most:,} tokens, "
                f"no sequence of {s.sequence_length} and one"
            )
        if pool.share * BLOCK < 0.5:
            raise BadInput(f"{where}: the share {pool.share:g} of {pool.name} is less than one sequence in {BLOCK:,}")
        if s.max_epochs is not None and pool.epochs(s) > s.max_epochs:
            raise BadInput(
                f"{where}: {pool.name} would be seen {pool.epochs(s):.2f} times, max_epochs is {s.max_epochs:g}: "
                f"a share of {pool.share * s.max_epochs / pool.epochs(s):.3g}, or fewer steps, would do"
            )
    return pools


def step_windows(step: int, global_batch: int, pools: list[Pool], seed: int) -> list[tuple[int, int]]:
    """(pool, window within it) of every sequence of optimiser step `step` (1 ...), in order."""
    shares = tuple(pool.share for pool in pools)
    drawn = []
    for position in range((step - 1) * global_batch, step * global_batch):
        pool, index = draw(position, shares, seed)
        windows = len(pools[pool].stream)
        drawn.append((pool, int(epoch_order(windows, seed, index // windows)[index % windows])))
    return drawn


def draw(position: int, shares: tuple[float, ...], seed: int) -> tuple[int, int]:
    """The pool that sequence `position` of the run comes from, and how many sequences that pool gave before it."""
    if len(shares) == 1:
        return 0, position
    block, slot = divmod(position, BLOCK)
    pools, before = block_order(shares, seed, block)
    pool = int(pools[slot])
    return pool, block * block_counts(shares)[pool] + int(before[slot])


@lru_cache(maxsize=2)
def block_order(shares: tuple[float, ...], seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """For each slot of a block, its pool and how many slots of that pool lie before it. Shapes [BLOCK]."""
    pools = np.repeat(np.arange(len(shares)), block_counts(shares))
    np.random.default_rng([seed, block, 1]).shuffle(pools)
    before = np.zeros(BLOCK, np.int64)
    for pool in range(len(shares)):
        mine = pools == pool
        before[mine] = np.arange(mine.sum())
    return pools, before


@lru_cache(maxsize=2)
def block_counts(shares: tuple[float, ...]) -> tuple[int, ...]:
    """How many sequences of a block each pool gives: its share, by largest remainders."""
    exact = np.array(shares) * BLOCK
    counts = np.floor(exact + 1e-6).astype(int)
    for pool in np.argsort(counts - exact, kind="stable")[: BLOCK - counts.sum()]:
        counts[pool] += 1
    return tuple(int(count) for count in counts)


@lru_cache(maxsize=8)
def epoch_order(windows: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits the windows of a pool. Shape [windows]."""
    return np.random.default_rng([seed, epoch]).permutation(windows)


def describe(pools: list[Pool], s: Settings) -> str:
    """The mixture in a line, for the log."""
    return "; ".join(f"{p.name} {p.share:.1%} of the tokens, {p.epochs(s):.2f} epochs" for p in pools)
