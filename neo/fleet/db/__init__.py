"""What an operator remembers of fleets between two commands. The only package that knows SQLAlchemy."""

from __future__ import annotations

from neo.fleet.db.database import FleetDb
from neo.fleet.members import Member, Pin, Standing, WrittenDocument

__all__ = ["FleetDb", "Member", "Pin", "Standing", "WrittenDocument"]
