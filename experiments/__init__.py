"""One question per file; run each as `python -m experiments.NAME`."""
