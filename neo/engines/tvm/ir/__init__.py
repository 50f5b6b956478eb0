"""Helpers over Relax and TensorIR expressions that every stage may use."""
