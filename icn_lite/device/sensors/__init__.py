"""Sensors: the only part of this room that touches the outside. One source a file, tried in the order of `hub`."""
