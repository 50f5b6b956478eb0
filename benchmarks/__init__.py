"""What neo-edge claims about speed, as programs that measure it and its peers in one run."""
