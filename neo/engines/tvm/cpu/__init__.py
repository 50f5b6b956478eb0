"""Machine code for processors: units and tiles, lowering, schedules, code generation, tuning."""
