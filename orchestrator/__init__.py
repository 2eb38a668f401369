"""Sweeps on Ray: a sweep file in, committed runs in a store out."""
