"""Optimal design: which runs teach most about a law, per FLOP. numpy alone, for any form."""
