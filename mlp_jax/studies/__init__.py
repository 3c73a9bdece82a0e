"""This package records, judges and shows results; a study is one question."""
