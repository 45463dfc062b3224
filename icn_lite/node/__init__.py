"""The shell: wires the machines to store, mesh, sandbox and sensors, and owns every task."""
