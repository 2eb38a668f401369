"""Mirrors of a sweep in trackers that people already look at: TensorBoard, Weights & Biases.

    tracker.py      the hook: what a tracker is told
    mirror.py       an observer that feeds a tracker from a thread of its own, and outlives its failures
    tensorboard.py  event files
    wandb.py        one run of Weights & Biases each, offline unless WANDB_MODE says otherwise
    choosing.py     `--tracker tensorboard=DIR|wandb=PROJECT`

The store is the truth: a tracker is told of committed runs, nothing is read back from it, and none can fail a run.
"""
