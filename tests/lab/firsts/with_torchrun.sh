#!/bin/sh
# The command of one machine, kept in a file.
torchrun --standalone --nproc-per-node=2 all_reduce.py
