"""Train a model on token shards: from scratch, continued from another model, or a branch of an earlier run.

python pretrain/train.py --config configs/tiny.yaml --check        # settings and inputs, without torch
bash runs/pretrain.sh configs/tiny.yaml 2                          # over two processes of this machine

Writes a series of checkpoints. The same command resumes after an interruption, bit for bit on the same number of
ranks; torchrun starts it as well. Exit status of --check: 0 there is something to do, 3 finished, 2 bad input. Of a
run: 0 finished, 75 saved because a signal asked for it, 70 a rank hung, 2 bad input.
"""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.checkpoints import Saver, check_files, check_origin, newest_resumable
from pretrain.mixture import Pool, describe, make_pools
from pretrain.recipe import Settings, check, check_batch, total_steps, validation_files
from pretrain.schedule import learning_rate
from pretrain.zero_config import zero_config
from snakmodel.config import BadInput, Command, read_command, run_script
from snakmodel.hashes import file_hash
from snakmodel.paths import step_name
from snakmodel.records import Work, begin, read_json
from snakmodel.series import parse_branch, resolve_branch, resolve_model
from snakmodel.shards import ShardReader, open_shards
from snakmodel.signals import STOPPED

if TYPE_CHECKING:
    import numpy as np


def main() -> None:
    command = read_command(Settings, "pretrain", __doc__)
    s, folder, shards = command.settings, command.run.folder("pretrain"), command.run.folder("make_shards")
    check(s, command.config)
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    check_batch(s.global_batch, s.micro_batch, count)
    if s.deepspeed:
        zero_config(s, count)
    finished = (folder / "run.json").is_file() and not command.overwrite
    if finished and rank != 0:
        return  # as the first rank says
    parent = find_parent(s)
    # the first rank looks, and tells the others what it found: their view of a shared disk may be older
    go_on = f"or change run_dir (and set pretrain.branch_from={command.run.root}@STEP to go on from a step of it)"
    work = begin(command, folder, find_inputs(s, shards, parent), cure=go_on) if rank == 0 else None
    if finished and work is None:
        raise SystemExit(3 if command.check else 0)
    pools, validation = read_text(command, s.verify and rank == 0)
    done = check_newest(folder, work, s.verify) if rank == 0 else 0
    if rank == 0 and work is None:
        return

    from pretrain.ranks import one_line_for_a_lost_peer  # late: a finished or faulty run says so at once

    with one_line_for_a_lost_peer():
        train(command, work, parent, pools, validation, done)


def train(
    command: Command[Settings],
    work: Work | None,
    parent: str | None,
    pools: list[Pool],
    validation: list[ShardReader],
    done: int,
) -> None:
    """Trains from step `done` on, as this process's rank. work, done: of the first rank, which tells the others."""
    import torch
    import torch.distributed as dist

    from pretrain.engines import make_engine
    from pretrain.guard import Guard, accepted
    from pretrain.loader import batches
    from pretrain.models import share_model
    from pretrain.monitor import Mark, Monitor, read_log
    from pretrain.ranks import Ranks
    from pretrain.validation import bits_per_byte, check_loss, read_held_out

    s, folder, shards = command.settings, command.run.folder("pretrain"), command.run.folder("make_shards")
    ranks = Ranks(s.hang_minutes)
    done, started = ranks.share((done, work.started if work else None))
    model = share_model(s, parent, folder / "config" if done else None)
    if ranks.rank == 0 and not done:
        model.config.save_pretrained(folder / "config")
        model.generation_config.save_pretrained(folder / "config")
    check_vocabulary(pools, model.config.vocab_size)
    engine = make_engine(model, ranks.device, s)
    probe_BT = torch.from_numpy(probe_tokens(validation))
    if done:
        engine.load(folder / step_name(done))
    elif s.branch_from:
        kept = find_branch(s, model.config)
        ranks.say(f"a branch of {s.branch_from}, its optimiser's state {'kept' if kept else 'made anew'}")
        if kept:
            engine.load(kept)
    check_loss(engine, probe_BT, ranks.count)
    ranks.say(f"{engine.describe()}; {describe(pools, s)}; from step {done} of {total_steps(s)}")
    rows = read_log(folder / "log.jsonl", done) if ranks.rank == 0 else []
    newest, usual = ranks.share((rows[-s.max_skipped :], accepted(rows)))
    held_out = read_held_out(validation_files(s, shards), s, ranks.rank, ranks.count) if s.validate_every else {}
    guard = Guard(s.spike_deviations, usual, ranks.device)
    monitor = Monitor(s, ranks, folder, rows or newest, model)
    saver = Saver(engine, ranks, folder, started, probe_BT)
    if not done and parent is None:
        saver.save(0, 0, in_series=True, resumable=False)
    if not done and s.validate_every:
        monitor.begin(bits_per_byte(engine, held_out))

    steps, ready = total_steps(s), batches(done + 1, total_steps(s), s, pools, ranks.rank, ranks.count)
    profiler = monitor.start_profiler(done)
    for step in range(done + 1, steps + 1):
        clock, begun = time.perf_counter(), Mark(ranks.device)
        batch = next(ready)
        waited = time.perf_counter() - clock
        torch.manual_seed(s.seed + 1_000_003 * step + ranks.rank)  # whatever is random in a step repeats on resuming
        rate = learning_rate(step, s)
        seen = engine.step(batch, rate, guard)
        monitor.add(step, rate, seen, waited, begun, Mark(ranks.device))
        ranks.watchdog.beat(step)
        if profiler:
            profiler.step()
        saver.raise_failure()
        stopped, last = ranks.any(ranks.listener.heard is not None), step == steps
        validates = bool(s.validate_every) and (step % s.validate_every == 0 or last)
        saves = step % s.save_every == 0 or last
        if step % s.log_every == 0 or validates or saves or stopped:
            try:
                monitor.flush(**({"bits_per_byte": bits_per_byte(engine, held_out)} if validates else {}))
            except BadInput:  # the run must stop; what was being saved is kept
                saver.finish()
                raise
        if step % s.log_every == 0 or validates or last:
            monitor.print_line()
        if saves or stopped:
            saver.save(step, monitor.rows[-1]["tokens"], in_series=saves)
        if stopped and not last:
            saver.finish()
            ranks.say(f"stopped by {ranks.listener.heard or 'another rank'} after step {step}, which is saved")
            dist.destroy_process_group()
            sys.exit(STOPPED)

    if profiler:
        profiler.stop()
    saver.finish()
    if work:
        final = next((row["loss"] for row in reversed(monitor.rows) if "loss" in row), None)
        work.finish(
            steps=steps, tokens=monitor.rows[-1]["tokens"], ranks=ranks.count, device=ranks.device.type, loss=final,
            epochs={pool.name: pool.epochs(s) for pool in pools}, **monitor.summary(),
        )  # fmt: skip
    dist.destroy_process_group()


def find_parent(s: Settings) -> str | None:
    """The model that training starts from: a folder or a Hub id; None from scratch."""
    if s.branch_from:
        return resolve_branch(s.branch_from)
    return resolve_model(s.init_from) if s.init_from else None


def find_inputs(s: Settings, shards: Path, parent: str | None) -> dict[str, str | Path]:
    """What shapes the result besides the settings."""
    inputs: dict[str, str | Path] = {"shards": shards}
    inputs |= {"parent": parent} if parent else {}
    inputs |= {"replay": Path(s.replay.shards)} if s.replay else {}
    return inputs | ({"deepspeed": Path(s.deepspeed)} if s.deepspeed else {})


def find_branch(s: Settings, config: Any) -> Path | None:
    """The checkpoint whose optimiser's state a branch goes on with; None where it cannot: the export has the weights.

    It must be kept, be of the same engine, and of a model with the same parameters trained.
    """
    assert s.branch_from is not None
    run, step = parse_branch(s.branch_from)
    checkpoints = run / "checkpoints"
    before = read_json(checkpoints / "started.json")["settings"]
    rows = read_json(checkpoints / "config/config.json").get("vocab_size")
    same = (before.get("engine", "fsdp"), before.get("frozen", []), rows) == (s.engine, s.frozen, config.vocab_size)
    kept = checkpoints / step_name(step)
    return kept if same and (kept / "optimizer").is_dir() else None


def read_text(command: Command[Settings], verify: bool) -> tuple[list[Pool], list[ShardReader]]:
    """Training text and held-out text; refuses what training would fail on."""
    s, shards = command.settings, command.run.folder("make_shards")
    train, validation = (open_shards(shards, name, verify) for name in ("train", "validation"))
    if s.replay and not any(Path(s.replay.shards).glob("*/train.json")):
        raise BadInput(f"pretrain.replay.shards {s.replay.shards} holds no shards; name a run's folder shards")
    replayed = open_shards(Path(s.replay.shards), "train", verify) if s.replay else []
    for shard in train + replayed:
        check_tokenizer(shard, s.tokenizer, train[0])
    probe_tokens(validation)
    if s.validate_every:
        validation_files(s, shards)
    return make_pools(s, train, replayed, command.config), validation


def check_newest(folder: Path, work: Work | None, checksums: bool) -> int:
    """The step to resume from (0: none), its checkpoint whole and of this run."""
    if done := newest_resumable(folder):
        check_files(folder / step_name(done), checksums=checksums)
        if work:
            check_origin(folder / step_name(done), work.started)
    return done


def check_vocabulary(pools: list[Pool], rows: int) -> None:
    """Refuses text with tokens that the model has no embedding for."""
    for shard in (shard for pool in pools for shard in pool.stream.shards):
        if shard.facts.get("vocabulary", 0) > rows:
            raise BadInput(f"{shard.prefix} has {shard.facts['vocabulary']:,} tokens, the model embeds {rows:,}")


def check_tokenizer(shard: ShardReader, tokenizer: str, first: ShardReader) -> None:
    """Refuses shards of another tokenizer than the recipe's, or than the other shards'."""
    path, made_by = Path(tokenizer) / "tokenizer.json", shard.facts.get("tokenizer_sha256")
    if path.is_file() and made_by and file_hash(path) != made_by:
        raise BadInput(
            f"pretrain.tokenizer {tokenizer} is not the one that made {shard.prefix}; "
            "make those shards with it, or take theirs"
        )
    makers = {each.facts.get("tokenizer_sha256") or each.facts.get("tokenizer") for each in (shard, first)} - {None}
    if len(makers) > 1:
        raise BadInput(
            f"{shard.prefix} was made with the tokenizer {shard.facts['tokenizer']}, "
            f"{first.prefix} with {first.facts['tokenizer']}; make one of them again"
        )


def probe_tokens(validation: list[ShardReader]) -> "np.ndarray":
    """Two pieces of held-out text, [2, up to 64], whose logits go with every checkpoint for the export to match."""
    tokens = max((shard.tokens for shard in validation), key=len)
    length = min(64, len(tokens) // 2)
    if length < 1:
        raise BadInput("the held-out text has too few tokens to check exports by; raise make_shards.validation_share")
    return tokens[: 2 * length].reshape(2, length).astype("int64")


if __name__ == "__main__":
    run_script(main)
