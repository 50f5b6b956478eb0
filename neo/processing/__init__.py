"""Pre- and post-processing that travels inside the model: TOML documents -> steps -> ONNX nodes around the model.

Every step says three things: what becomes of the shape (``after``), which ONNX nodes do it (``emit``), and the same in
numpy, in float64 and written independently of the nodes (``reference``). The last answers the golden samples.
"""
