"""Scaling-law analysis: a table of runs in; fits, intervals, plots and allocations out. Needs no torch, Ray or Optuna."""
