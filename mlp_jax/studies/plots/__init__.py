"""Figures as pure functions of result rows: SVG text, the same bytes for the same rows. A module per study."""
