"""Figures for papers and pages: values in, a matplotlib `Figure` out, no global state."""
