"""Writes one file of the corpus: one schema a line, so that a new version's changes can be read."""

import json
from importlib.metadata import version
from pathlib import Path

folder = Path(__file__).parent.parent / "schemas"


def write(generator, package, entries):
    """`entries`: (name, "tool" or "output", strict or not, schema)"""
    lines = [
        json.dumps({"name": name, "kind": kind, "strict": strict, "schema": schema}, ensure_ascii=False)
        for name, kind, strict, schema in entries
    ]
    head = f'{{\n"generator": {json.dumps(generator)},\n"version": {json.dumps(version(package))},\n"schemas": [\n'
    (folder / f"{generator}.json").write_text(head + ",\n".join(lines) + "\n]\n}\n")
    print(f"{generator} {version(package)}: {len(lines)}")
