"""Fitting a form: objectives, coordinates, solvers, certificates and intervals."""
