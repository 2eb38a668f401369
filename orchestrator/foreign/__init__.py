"""Runs that others made, brought into a store: tables, Weights & Biases, nanochat.

    source.py     what a reader gives: a data frame, how its columns are called, and what it counts
    detecting.py  which reader a source wants
    nanochat.py   results.csv of older versions, base_train.log of newer ones
    wandb.py      exported tables, and the folders that the client leaves on disk
    commits.py    rows as create-only commits, marked as foreign, once conventions agree

A foreign run enters fits, queries and reports as any other. It has no spec, so no sweep takes it for one of its own.
"""
