"""A stand-in for pycuda, which only knows which GPU it pretends to."""
