"""Relax -> Relax rewrites that hold for every kind of device."""
