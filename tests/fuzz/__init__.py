"""Fuzz tests: whatever is given as input, the outcome is success or one line of a UserError.

Each module named in `TARGETS` is one target, with

- `examples()`: a hypothesis strategy of plain data, which say how an input is made from a good one;
- `prepare(folder)`: makes the good ones, once;
- `check(folder, place, example)`: makes the input in the empty folder `place`, hands it to the project and returns
  the outcome in a few words; UserError is an outcome too, any other exception a finding;
- `KEPT`: examples that once were findings;
- `SECONDS`, `MEGABYTES`: the most that one example may take.

`tests/test_fuzz.py` runs them, each example in a process of its own (`__main__`), so that a crash, an endless
loop, or a change of global state is noticed and hurts nobody.
"""

TARGETS = ("pictures", "caches", "records", "command_lines", "result_files", "gradients", "checkpoints")
