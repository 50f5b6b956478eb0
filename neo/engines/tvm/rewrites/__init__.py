"""Relax -> Relax rewrites that do not depend on the target."""
