"""A stand-in for pycuda: a driver that keeps its rules and has host memory for a device."""
