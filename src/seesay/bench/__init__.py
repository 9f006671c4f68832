"""`seesay bench`: how fast this machine captions, trains and scores; each figure stands beside a measured limit."""

from seesay.bench.results import Report
from seesay.bench.run import PARTS, Options, run_bench

__all__ = ["PARTS", "Options", "Report", "run_bench"]
