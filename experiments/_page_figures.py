"""Figures as data: images, which need no network and in which nothing runs."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TYPES = {".svg": "svg+xml", ".png": "png"}
PLACES = re.compile(rb'\s(?:d|x|y)="[^"]*"')
DIGITS = re.compile(rb"(\.\d\d)\d+")


def figure(folder: Path, named: Mapping[str, str]) -> dict[str, Any]:
    """What the page needs of a figure that a results file names."""
    path = folder / Path(named["file"]).name
    data = path.read_bytes()
    kind = TYPES.get(path.suffix, "png")
    content = slim(data) if kind == "svg+xml" else data
    return {
        "path": path,
        "caption": named["caption"],
        "vector": kind == "svg+xml",
        "data": f"data:image/{kind};base64,{base64.b64encode(content).decode()}",
        "width": width(data),
    }


def width(data: bytes) -> int:
    """Of an SVG (in points there) or a PNG, in CSS pixels."""
    if data.startswith(b"\x89PNG"):
        return int.from_bytes(data[16:20])
    points = re.search(rb'<svg[^>]*\swidth="([\d.]+)pt"', data)
    return round(float(points[1]) * 4 / 3) if points else 640


def slim(svg: bytes) -> bytes:
    """The same picture in fewer bytes: rounded places, no indents, no metadata, short lists of fonts.

    matplotlib lists ten fonts, or for a formula one, which a phone has not.
    """
    svg = re.sub(rb"<metadata>.*?</metadata>|<!--.*?-->", b"", svg, flags=re.DOTALL)
    svg = PLACES.sub(lambda place: b" ".join(DIGITS.sub(rb"\1", place[0]).split(b"\n")), svg)
    svg = re.sub(rb"font-family: [^;\"]*", b"font-family: 'DejaVu Sans', Verdana, sans-serif", svg)
    svg = re.sub(rb' transform="rotate\(-0 [^"]*"', b"", svg)
    return re.sub(rb">\s*\n\s*<", b"><", svg)
