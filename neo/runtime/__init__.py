"""Open an engine folder and predict. The compiler measures with this code, and the device runs it."""

from neo.runtime.load import Engine, Predictor, engine_versions, load, load_engine

__all__ = ["Engine", "Predictor", "engine_versions", "load", "load_engine"]
