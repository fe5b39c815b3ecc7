"""Parquet manifests -> faces in memory -> batches that depend on nothing but the seed and the step."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.lab.collections.entry import REGIONS
from mien.lab.faces import Faces

SPLITS = ("train", "val", "test")


_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null, pa.types.is_dictionary)
_TEXTS = {"name": _TEXT, "split": _TEXT, "emotion": _TEXT}
Sampler = Callable[[int], tuple[Tensor, Tensor]]
"""Step -> the rows of the faces edited and of those aimed at, (batch,) each; the same for the same step."""


class Table(Protocol):
    """What the trainer asks of its data."""

    @property
    def faces(self) -> Faces: ...
    @property
    def digest(self) -> str: ...
    def __len__(self) -> int: ...
    def take(self, index: Tensor, device: torch.device | str = "cpu") -> Faces: ...
    def weights(self, balance: float) -> Tensor: ...


@dataclass(frozen=True)
class FaceTable:
    """Faces of one split, decoded once: ``faces.image`` is uint8 (N, 3, S, S); names (N,) as in the manifest."""

    faces: Faces
    names: list[str]
    digest: str

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> Faces:
        """The faces at ``index``, images as floats in [-1, 1], on ``device``."""
        faces = self.faces[index.to(self.faces.image.device)].to(device)
        return faces.having(image=faces.image.float() / 127.5 - 1)

    def weights(self, balance: float) -> Tensor:
        """(N,) sampling weights that favour rare expressions and rare muscles: ``rarity ** balance``.

        A face is as rare as its label is (1 / faces that share it) times how far its blendshapes lie from the average
        (mean squared z-score, at most 10). 0 draws faces as they come, 1 draws every label about equally often.
        """
        rarity = torch.ones(len(self))
        if self.faces.emotion is not None:
            label = self.faces.emotion.cpu() + 1
            count = torch.bincount(label, minlength=len(EXPRESSIONS) + 1).float()
            count[0] = count.max()  # faces without a label count as the commonest label's
            rarity = rarity / count[label]
        if self.faces.blendshapes is not None:
            shapes = self.faces.blendshapes.cpu()
            score = (shapes - shapes.mean(0)) / (shapes.std(0) + 0.02)
            rarity = rarity * (score**2).mean(1).clamp(0.1, 10)
        return rarity**balance


def load(
    path: Path, split: str, fields: frozenset[str], size: int, limit: int | None = None, real: bool = False
) -> FaceTable:
    """Read one split of a manifest. Rows that lack a needed label are left out; regions are 255 where there are none.

    real: leave out the rows that `mien augment` made, which nothing may be measured on.
    Raises MienError for a missing file, column or split, before any work.
    """
    if split not in SPLITS:
        raise MienError(f"{split!r} is no split: choose one of {', '.join(SPLITS)}")
    try:
        return _load(path, split, fields, size, limit, real)
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:  # of columns that are not what they say
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MienError(f"{path}: not a readable Parquet manifest ({reason}); run `mien prepare` again") from error


def _load(path: Path, split: str, fields: frozenset[str], size: int, limit: int | None, real: bool) -> FaceTable:
    table = _read(path, fields)
    table = table.filter(pc.equal(table["split"], split))
    if real and "synthetic" in table.column_names:
        table = table.filter(pc.invert(pc.fill_null(table["synthetic"], False)))
    for field in fields - {"emotion", "regions"}:
        table = table.filter(pc.is_valid(table[field]))
    labels = emotion_labels(table, path)
    if "emotion" in fields:
        table = table.filter(pa.array([label in EXPRESSIONS for label in labels], pa.bool_()))
        labels = [label for label in labels if label in EXPRESSIONS]
    table, labels = table.slice(0, limit), labels[:limit]
    if not len(table):
        raise MienError(f"{path}: no usable row in split {split!r}; fields needed: {', '.join(sorted(fields))}")
    with ThreadPoolExecutor() as pool:
        rows = zip(table["image"].to_pylist(), table["name"].to_pylist(), strict=True)
        images = np.stack(list(pool.map(lambda row: _decode_row(path, row[0], row[1], size), rows)))
    columns: dict[str, Tensor] = {"image": torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()}
    if labels:
        index: dict[str, int] = {name: i for i, name in enumerate(EXPRESSIONS)}
        columns["emotion"] = torch.tensor([index.get(label, -1) for label in labels])
    if "blendshapes" in fields:
        columns["blendshapes"] = _floats(table, "blendshapes", path, len(BLENDSHAPES))
    if "landmarks" in fields:
        columns["landmarks"] = _floats(table, "landmarks", path, 2 * 68).view(-1, 68, 2)
    if "identity" in fields:
        people = {name: i for i, name in enumerate(sorted(set(table["identity"].to_pylist())))}
        columns["identity"] = torch.tensor([people[name] for name in table["identity"].to_pylist()])
    if "regions" in fields:
        columns["regions"] = _regions(table, path, size)
    digest = hashlib.sha256(json.dumps([str(split), size, table["name"].to_pylist()]).encode()).hexdigest()[:16]
    return FaceTable(Faces(**columns), table["name"].to_pylist(), digest)


def draw(weights: Tensor, count: int, *key: int) -> Tensor:
    """(count,) row numbers, a pure function of weights and key (seed, step, role), so that a resume repeats it."""
    generator = torch.Generator().manual_seed(mix(*key))
    return torch.multinomial(weights, count, replacement=count > len(weights), generator=generator)


def weighted(weights: Sequence[Tensor], batch: int, seed: int) -> Sampler:
    """Sources and targets drawn independently, each by its own (N,) weights."""
    sources, targets = weights
    return lambda step: (draw(sources, batch, seed, step, 0), draw(targets, batch, seed, step, 1))


def same_person(identity: Tensor, photos: int, batch: int, seed: int) -> Sampler:
    """Sources and targets of the same people: ``photos`` of each person in each, different ones as far as there are.

    identity: (N,). Raises MienError where fewer than two people have two photographs, or where batch does not divide.
    """
    if batch % photos:
        raise MienError(f"--batch {batch} is no multiple of the {photos} photographs a person")
    rows = identity.argsort(stable=True)
    people = [group for group in rows.split(identity.unique(return_counts=True)[1].tolist()) if len(group) > 1]
    if len(people) < 2:
        raise MienError(f"{len(people)} people with two photographs or more: this needs two; check column identity")

    def sample(step: int) -> tuple[Tensor, Tensor]:
        chosen = draw(torch.ones(len(people)), batch // photos, seed, step, 0).tolist()
        album = [people[person] for person in chosen]
        picks = [
            group[draw(torch.ones(len(group)), len(group), seed, step, i).repeat(2 * photos)[: 2 * photos]]
            for i, group in enumerate(album, 1)
        ]
        both = torch.stack(picks).view(len(album), photos, 2)
        return both[:, :, 0].flatten(), both[:, :, 1].flatten()

    return sample


def mix(*key: int) -> int:
    """One 63-bit seed from several numbers, the same on every machine."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1


def splits(path: Path) -> set[str]:
    """The splits that a manifest, which could be loaded, has rows of; pictures are not read."""
    return set(pq.read_table(path, columns=["split"])["split"].to_pylist())


def join(tables: list[FaceTable]) -> FaceTable:
    """Several tables as one, with the fields that all of them have; nobody is taken to stand in two of them."""
    common = set.intersection(*(set(table.faces.present()) for table in tables))
    faces = Faces(**{name: torch.cat([table.faces.present()[name] for table in tables]) for name in common})
    if faces.identity is not None:
        people = [int(table.faces.identity.max()) + 1 for table in tables]
        above = torch.tensor([0, *people[:-1]]).cumsum(0).repeat_interleave(torch.tensor([len(t) for t in tables]))
        faces = faces.having(identity=faces.identity + above)
    digest = hashlib.sha256(" ".join(table.digest for table in tables).encode()).hexdigest()[:16]
    return FaceTable(faces, [name for table in tables for name in table.names], digest)


def without_twins(table: FaceTable, held_out: FaceTable, alike: float = 0.99) -> FaceTable:
    """``table`` without pictures that stand in ``held_out`` too, mirrored or not (cosine of 16 px thumbnails)."""
    thumbs = [_thumbnails(t.faces.image) for t in (table, held_out)]
    mirrored = thumbs[1].view(-1, 16, 16).flip(-1).flatten(1)
    other = torch.cat([thumbs[1], mirrored]).T
    keep = torch.cat([(part @ other).amax(1) < alike for part in thumbs[0].split(2048)]).nonzero()[:, 0]
    if not len(keep):
        raise MienError("nothing to train on: every picture of the train split is held out in val or test too")
    return FaceTable(table.faces[keep], [table.names[i] for i in keep.tolist()], f"{table.digest}-{len(keep)}")


def _thumbnails(images: Tensor) -> Tensor:
    small = torch.nn.functional.interpolate(images.float().mean(1, keepdim=True), size=16, mode="area").flatten(1)
    return torch.nn.functional.normalize(small - small.mean(1, keepdim=True), dim=1)


def _read(path: Path, fields: frozenset[str]) -> pa.Table:
    """The columns that ``fields`` need; expression labels may stand as ``emotion`` or as FER+ ``votes``."""
    if path.exists() and not path.is_file():  # a pipe would block
        raise MienError(f"{path}: not a regular file; name a Parquet manifest")
    try:
        names = set(pq.read_schema(path).names)
        labels = {"emotion", "votes"} & names
        needed = (
            {"name", "split", "image"}
            | (fields - {"emotion", "regions"})
            | ({"emotion"} & fields if not labels else set())
        )
        if needed - names:
            raise MienError(f"{path}: no column {', '.join(sorted(needed - names))}; it has {', '.join(sorted(names))}")
        table = pq.read_table(path, columns=sorted(needed | labels | ({"identity", "synthetic", *fields} & names)))
    except (OSError, pa.ArrowException) as error:
        raise MienError(f"{path}: not a readable Parquet manifest ({str(error).splitlines()[0]})") from error
    for name, types in _TEXTS.items():
        kind = table.schema.field(name).type if name in table.column_names else None
        if kind is not None and not any(fits(kind) for fits in types):
            raise MienError(f"{path}: column {name} holds {kind}, not text; run `mien prepare` again")
    if "identity" in names:
        homes: dict[str, str] = {}
        for person, split in zip(table["identity"].to_pylist(), table["split"].to_pylist(), strict=True):
            if homes.setdefault(person, split) != split:
                raise MienError(f"{path}: {person} is in {homes[person]} and in {split}; a person belongs to one split")
    return table


def emotion_labels(table: pa.Table, path: Path) -> list[str]:
    """A label a row, '' where there is none; [] where the manifest has no labels. FER+ votes count by majority."""
    if "emotion" in table.column_names:
        return [label or "" for label in table["emotion"].to_pylist()]
    if "votes" not in table.column_names:
        return []
    names = (table.schema.metadata or {}).get(b"votes", b"").decode().split(",")
    votes = np.array(table["votes"].to_pylist(), np.int64).reshape(len(table), -1)
    if len(table) and votes.shape[1] != len(names):
        raise MienError(f"{path}: {votes.shape[1]} votes a row and not as many names in the schema metadata 'votes'")
    top = votes.argmax(1)
    clear = votes.max(1) * 2 > votes.sum(1)
    return [names[k] if sure else "" for k, sure in zip(top, clear, strict=True)]


def _decode_row(path: Path, blob: bytes, name: str, size: int) -> np.ndarray:
    try:
        return _decode(blob, size)
    except (OSError, TypeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MienError(f"{path}: the image of row {name!r} cannot be read (WebP, PNG or JPEG is)") from error


def _decode(blob: bytes, size: int) -> np.ndarray:
    picture = Image.open(io.BytesIO(blob), formats=["WEBP", "PNG", "JPEG"]).convert("RGB")
    if picture.size != (size, size):
        picture = picture.resize(
            (size, size), Image.Resampling.LANCZOS if picture.width > size else Image.Resampling.BICUBIC
        )
    return np.asarray(picture)


def _regions(table: pa.Table, path: Path, size: int) -> Tensor:
    """(N, size, size) uint8, 255 throughout where a row, or the whole manifest, has no mask."""
    maps = torch.full((len(table), size, size), 255, dtype=torch.uint8)
    blobs = table["regions"].to_pylist() if "regions" in table.column_names else []
    for row, (blob, name) in enumerate(zip(blobs, table["name"].to_pylist(), strict=False)):
        if blob is None:
            continue
        try:
            picture = (
                Image.open(io.BytesIO(blob), formats=["PNG"])
                .convert("L")
                .resize((size, size), Image.Resampling.NEAREST)
            )
        except (OSError, TypeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise MienError(f"{path}: the regions of row {name!r} cannot be read (PNG is)") from error
        maps[row] = torch.from_numpy(np.array(picture))
        if int(maps[row].max()) >= len(REGIONS):
            raise MienError(
                f"{path}: the regions of row {name!r} go beyond {len(REGIONS) - 1}; run `mien prepare` again"
            )
    return maps


def _floats(table: pa.Table, name: str, path: Path, width: int) -> Tensor:
    """(N, width) of a column of lists; MienError where they are anything else."""
    try:
        rows = table[name].combine_chunks()
        flat = rows.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        lengths = pc.list_value_length(rows).to_numpy(zero_copy_only=False)
        if (lengths != width).any() or not np.isfinite(flat).all():
            raise ValueError
    except (ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        raise MienError(
            f"{path}: column {name} must hold lists of {width} numbers; run `mien prepare` again"
        ) from error
    return torch.from_numpy(flat).view(-1, width)
