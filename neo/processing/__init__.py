"""Pre- and post-processing that travels inside the model: TOML documents -> steps -> ONNX nodes around the model.

Every step has three methods: ``after`` gives the shape that it makes, ``emit`` the ONNX nodes, and ``reference`` the
same in numpy, in float64 and written independently of the nodes. Golden samples are computed by ``reference``.
"""
