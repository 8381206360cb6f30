"""Reads an HdrHistogram interval log by the library from PyPI, which shares no code with ours.

Prints a line of JSON for each interval: tag, beginning and end (ms since 1970), count, percentiles (ns).
"""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

log = HistogramLogReader(sys.argv[1], HdrHistogram(1, 3600 * 10**9, 3))
while (interval := log.get_next_interval_histogram()) is not None:
    at = [0.0, 50.0, 90.0, 99.0, 99.9, 100.0]
    print(json.dumps({
        "tag": interval.get_tag(),
        "from": interval.get_start_time_stamp(),
        "to": interval.get_end_time_stamp(),
        "count": interval.get_total_count(),
        "percentiles": [interval.get_value_at_percentile(percent) for percent in at],
    }))
