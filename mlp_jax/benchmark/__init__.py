"""The benchmark compares this package with NumPy, scikit-learn and PyTorch; each contender has a file of its own.

A contender's module (`ours`, `with_...`) has VERSION and `make(name, start)`, which gives the networks of a
`Start`, or raises `Cannot`. They have `first_losses(steps)`, J~ before each of the first steps, in nats, by the
number of the network, and `train(steps)`, the seconds that so many steps of every network take. A library that
measures the machine too has `rates()`, and one that uses a device `peak_bytes()`.

Nothing is imported here: a contender's process would pay for it in time and memory, which are compared.
"""
