#!/usr/bin/env bash
# Pre-train over RANKS processes of this machine. They are started only when there is something to train.
#
#   bash runs/pretrain.sh RECIPE RANKS [key=value ...]
#
# SIGTERM, SIGUSR1 or Ctrl-C: the step under way is finished and saved, exit status 75; the same command continues.
# When one process fails, the others are ended too. (Several machines: runs/pretrain.sbatch. torchrun works as well.)
set -euo pipefail
recipe=$1 ranks=$2
shift 2
status=0
WORLD_SIZE=$ranks python pretrain/train.py --config "$recipe" "$@" --check || status=$?
case $status in
    0) ;;
    3) exit 0 ;; # finished, as --check has said
    *) exit "$status" ;;
esac

export WORLD_SIZE=$ranks MASTER_ADDR=127.0.0.1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
MASTER_PORT=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export MASTER_PORT
processes=()
for ((rank = 0; rank < ranks; rank++)); do
    RANK=$rank LOCAL_RANK=$rank python pretrain/train.py --config "$recipe" "$@" &
    processes+=($!)
done
trap 'kill -TERM "${processes[@]}" 2> /dev/null || true' TERM USR1 INT HUP

running=$ranks grace=
while ((running)); do
    ended=0
    wait -n -p process || ended=$?
    if [ -z "${process:-}" ]; then
        continue # it was a signal, which the trap has passed on
    elif [ "$process" = "$grace" ]; then
        kill -KILL "${processes[@]}" 2> /dev/null || true # they wait for the one that failed
    else
        running=$((running - 1))
        if ((ended != 0 && status == 0)); then
            status=$ended
            sleep "${GRACE_SECONDS:-20}" & # the others get a moment to come to the same end
            grace=$!
        fi
    fi
done
[ -z "$grace" ] || kill "$grace" 2> /dev/null || true
exit "$status"
