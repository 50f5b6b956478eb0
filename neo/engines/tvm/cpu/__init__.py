"""The backend for processors: units and tiles, lowering, schedules, code generation, tuning."""
