"""Who is in a picture and which split that person belongs to: nobody stands in two."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from mien.lab.collections.entry import Entry

SHARES = {"train": 0.75, "val": 0.05, "test": 0.2}
ALIKE = 0.99
"""Least cosine of the 16-pixel thumbnails of two pictures that count as one, as in ``data.without_twins``."""


def people_of(entries: Sequence[Entry], thumbnails: Sequence[bytes]) -> list[str]:
    """The person in each picture. Where none is named, a picture and its near-identical twins are a person."""
    people = [entry.identity or "" for entry in entries]
    nameless = [i for i, person in enumerate(people) if not person]
    pixels = np.frombuffer(b"".join(thumbnails[i] for i in nameless), np.uint8).reshape(-1, 16, 16)
    groups = twins(pixels)
    first: dict[int, str] = {}
    for i, group in zip(nameless, groups, strict=True):
        first[group] = min(first.get(group, entries[i].name), entries[i].name)
    for i, group in zip(nameless, groups, strict=True):
        people[i] = first[group]
    return people


def twins(thumbnails: np.ndarray) -> list[int]:
    """(N, 16, 16) uint8 -> the number of the group of near-identical pictures, mirrored or not, that each belongs to.

    Compared are only pictures that agree in one of four parts of a difference hash (Krawetz 2013), so that twins are
    found among a million pictures, and one of a pair whose hashes differ in up to three places is never missed.
    """
    small = thumbnails.reshape(-1, 8, 2, 8, 2).mean((2, 4))
    codes = np.concatenate([_hashes(small), _hashes(small[:, :, ::-1])])
    flat = thumbnails.reshape(-1, 256).astype(np.float32)
    mirrored = thumbnails[:, :, ::-1].reshape(-1, 256).astype(np.float32)
    vectors = np.concatenate([flat, mirrored])
    vectors -= vectors.mean(1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6
    count, parent = len(thumbnails), list(range(len(thumbnails)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for code in codes.T:
        order = np.argsort(code, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
            straight = bucket[bucket < count]
            for rows in np.array_split(straight, len(straight) // 2048 + 1) if len(bucket) > 1 else ():
                for a, b in zip(*np.nonzero(vectors[rows] @ vectors[bucket].T >= ALIKE), strict=True):
                    one, other = sorted((root(int(rows[a])), root(int(bucket[b]) % count)))
                    parent[other] = one
    return [root(i) for i in range(count)]


def _hashes(small: np.ndarray) -> np.ndarray:
    """(N, 8, 8) -> (N, 4) integers of 14 bits: in which places of two rows it grows brighter to the right."""
    bits = (np.diff(small, axis=2) > 0).reshape(-1, 4, 14)
    return bits @ (1 << np.arange(14))


def splits_of(people: Sequence[str], official: Sequence[str | None]) -> list[str]:
    """The split of each picture, "" for one to leave out, so that nobody stands in two of them.

    A person whose pictures have official splits belongs to that which is held out furthest (test, then val), and those
    of the others are left out. Where a collection knows no val, it is a sixteenth of train. People without an
    official split are shared out 75, 5 and 20 to a hundred by a hash of their names: always alike, and a person who
    is added moves nobody else.
    """
    rank = {name: i for i, name in enumerate(SHARES)}
    homes: dict[str, str] = {}
    for person, split in zip(people, official, strict=True):
        if split and rank[split] >= rank.get(homes.get(person, ""), -1):
            homes[person] = split
    carve = "val" not in homes.values()
    chosen = []
    for person, split in zip(people, official, strict=True):
        chance = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8], "big") / 2**64
        home = homes.get(person) or ("train" if chance < 0.75 else "val" if chance < 0.8 else "test")
        if split and split != home:
            home = ""
        elif carve and homes.get(person) == "train" and chance < SHARES["val"] / (1 - SHARES["test"]):
            home = "val"
        chosen.append(home)
    return chosen
