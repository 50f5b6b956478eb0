"""What an operator remembers of fleets between two commands. The only package that knows SQLAlchemy."""

from __future__ import annotations

from neo.fleet.db.database import FleetDb
from neo.fleet.members import Member, Standing, WrittenDocument

__all__ = ["FleetDb", "Member", "Standing", "WrittenDocument"]
