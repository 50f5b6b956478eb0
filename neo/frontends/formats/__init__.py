"""Whose file is it? One module per framework; none imports the framework or runs anything of the file."""
