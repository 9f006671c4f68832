"""The log, and the figures for Prometheus."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from seesay.errors import printable

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16)


class Metrics:
    """The Prometheus metrics of one server, in its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "seesay_requests",
            "Requests answered, by path and status.",
            ("path", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "seesay_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ("path",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.photos = Counter(
            "seesay_photos",
            "Photos by result: captioned or unreadable.",
            ("result",),
            registry=self.registry,
        )
        self.batches = Histogram(
            "seesay_batch_photos",
            "Photos in a batch.",
            buckets=SIZES,
            registry=self.registry,
        )
        self.waiting = Gauge("seesay_waiting_photos", "Photos in the queue.", registry=self.registry)
        self.open = Gauge("seesay_open_requests", "Requests being read or answered.", registry=self.registry)
        self.memory = Gauge("seesay_body_bytes", "Bytes of the bodies in memory.", registry=self.registry)


class AsText(logging.Formatter):
    """For people: time, message, and details as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback if there is one."""
        details = " ".join(f"{name}={value}" for name, value in _details(record).items())
        time = self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z")
        line = printable(" ".join(filter(None, (time, record.getMessage(), details))))
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class AsJson(logging.Formatter):
    """For programs: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, which includes the traceback if there is one."""
        entry: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **_details(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _details(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "details", {})


def logger(as_json: bool, name: str = "seesay.serve") -> logging.Logger:
    """The server's log on standard error, where uvicorn reports its errors too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(AsJson() if as_json else AsText())
    for each, level in ((name, logging.INFO), ("uvicorn.error", logging.ERROR)):
        log = logging.getLogger(each)
        log.handlers, log.propagate = [handler], False
        log.setLevel(level)
    return logging.getLogger(name)
