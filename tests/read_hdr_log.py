"""Reads HdrHistogram interval logs by the library from PyPI, which shares no code with ours.

Prints a line of JSON for each interval: tag, beginning and end (ms since 1970), count, percentiles (in the unit of the
log). With --sum first, a line for each tag, of all its intervals in all logs together.
"""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader


def at(histogram, permille):
    """The least value that so many are not above. The library itself rounds the rank, and may go below that."""
    total = histogram.get_total_count()
    rank = -(-permille * total // 1000)
    return histogram.get_value_at_percentile(100.0 * rank / max(total, 1))


def show(tag, histogram):
    print(json.dumps({
        "tag": tag,
        "from": histogram.get_start_time_stamp(),
        "to": histogram.get_end_time_stamp(),
        "count": histogram.get_total_count(),
        "percentiles": [at(histogram, permille) for permille in [0, 500, 900, 990, 999, 1000]],
    }))


logs = sys.argv[1:]
summed = logs[0] == "--sum"
sums = {}
for path in logs[1:] if summed else logs:
    log = HistogramLogReader(path, HdrHistogram(1, 3600 * 10**9, 3))
    while (interval := log.get_next_interval_histogram()) is not None:
        tag = interval.get_tag()
        if not summed:
            show(tag, interval)
        elif tag in sums:
            sums[tag].add(interval)
        else:
            sums[tag] = interval
for tag, histogram in sums.items():
    show(tag, histogram)
