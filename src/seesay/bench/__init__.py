"""`seesay bench`: how fast this machine captions, trains and scores.

Most figures are compared with a limit that is measured on the same machine.
"""

from seesay.bench.results import Report
from seesay.bench.run import PARTS, Options, run_bench

__all__ = ["PARTS", "Options", "Report", "run_bench"]
