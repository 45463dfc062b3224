"""The hardware underneath: sensors, profile, governor."""
