"""The way to full nodes and existing engines, behind one port."""
