"""Pure functions from module bytes to module bytes: decode, validate, meter, encode."""
