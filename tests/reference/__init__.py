"""Reference implementations: plain Python loops over numpy float64.

Written from the equations of the method, by somebody who had not read the package.
They are slow on purpose: no broadcasting, no einsum, one sum at a time. Nothing here
imports ``amflow_mm``, so a shared mistake cannot hide.
"""
