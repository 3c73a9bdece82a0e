"""This package beside NumPy, scikit-learn and PyTorch: what is trained, and a file for each of those who train it.

Nothing is imported here: a contender's process would pay for it in time and memory, which are compared.
"""
