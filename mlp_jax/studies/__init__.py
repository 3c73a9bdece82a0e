"""Studies: how results are recorded, judged and shown."""
