"""Shards: each photo belongs to exactly one of N, by a hash of its id."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """One of `count` disjoint parts of any set of photos.

    A photo's part depends on its id alone, so it does not change when photos are added.

    Attributes:
        number: from 1 to `count`.
        count: number of shards.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse text such as "3/8". Raises ValueError for anything else, such as "0/8"."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"{text!r}: expected K/N with K from 1 to N, such as 3/8")
        return cls(int(found[1]), int(found[2]))

    def holds(self, id_: str) -> bool:
        """Whether the photo with this id is in this shard."""
        from hashlib import blake2b  # imported late, as most runs have no shards

        digest = blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
