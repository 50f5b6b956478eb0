"""The device agent: it receives bundles that it can trust, switches to them safely, and answers predictions."""
