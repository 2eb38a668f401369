"""Families of models as functions of one flat vector, their gradients by hand, and how rates follow width."""
