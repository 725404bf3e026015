#!/bin/bash
# Something to do for each rank before its Python begins.
set -e
export OMP_NUM_THREADS=1 SHARD=$((RANK % 2))
echo "shard $SHARD for rank $RANK of $WORLD_SIZE" "$@"
exec "${PYTHON:-python3}" all_reduce.py
