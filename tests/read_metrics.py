"""Reads metrics by the parsers of PyPI's `prometheus_client`, which share no code with ours.

Arguments: prometheus or openmetrics, and a file. Prints a line of JSON for each sample, in order: family, kind, unit, help,
name, labels, value.
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

parse = {"prometheus": prometheus, "openmetrics": openmetrics}[sys.argv[1]]
with open(sys.argv[2], encoding="utf-8", newline="") as file:
    text = file.read()
for family in parse(text):
    for sample in family.samples:
        print(json.dumps({
            "family": family.name,
            "kind": family.type,
            "unit": family.unit,
            "help": family.documentation,
            "name": sample.name,
            "labels": sample.labels,
            "value": str(sample.value),
        }))
