"""The library that grows out of *From Matmul to Training Loop*: one module per chapter."""
from importlib.metadata import version

__version__ = version("course_lib")
