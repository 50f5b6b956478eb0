"""What it costs to bring one bundle to many devices. See ``__main__``."""
