"""The files of a pseudo-label store, on disk or on object storage: a manifest, and part files that are
written once, whole, and never changed. docs/labels.md says why Parquet.

    URL/<teacher>-<digest>/manifest.json           the teacher and its test-time augmentation
                           part-<unique>.parquet   key (16 bytes), xy (2 K floats), score (K bytes), maps
                                                   (bytes of packing.pack, or null); for a teacher that
                                                   predicts 3D also xyz (3 K floats)

Each writer adds parts of its own, so writers never change the same file. A part is there whole or not at all:
a killed writer leaves at most a temporary file, which is never read. A store is the union of its parts; a
sample that two writers stored counts once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from poseling.files import write_bytes
from poseling.geometry import Size
from poseling.limits import excess
from poseling.records import from_fields, parse_json
from poseling.skeleton import Skeleton
from poseling.spec import SIDE
from poseling.teachers.base import Prediction, Teacher
from poseling.teachers.packing import pack

MANIFEST = "manifest.json"
# Of stores of points, and of heatmaps: heatmaps of version 1 were cut below 0.03 and above 1.
VERSION, MAPS_VERSION = 1, 2
READERS = 8  # parts that are read at once: on object storage waiting takes most of the time
Key = bytes  # 16 bytes that identify a sample by content: see cache.keys


@dataclass(frozen=True)
class Manifest:
    """What a store holds: the teacher as it describes itself, and its test-time augmentation, over which its
    predictions are averaged.
    """

    teacher: str
    digest: str
    skeleton: Skeleton
    size: Size
    padding: float
    map_size: Size | None
    pixel: tuple[float, float] | None
    flip: bool
    scales: tuple[float, ...]
    licences: dict[str, str]
    version: int = VERSION
    is_3d: bool = False

    def __post_init__(self) -> None:
        for name, pair in (("size", self.size), ("map_size", self.map_size)):
            if pair is not None and not all(1 <= side <= SIDE for side in pair):
                raise ValueError(f"{name} is {pair}; it is (width, height) in pixels, 1 to {SIDE}")
        if (
            not self.padding > 0
            or not self.scales
            or not min(self.scales) > 0
            or (self.pixel is not None and not min(self.pixel) > 0)
        ):
            raise ValueError(
                f"padding {self.padding}, scales {self.scales} and pixel {self.pixel} are above 0"
            )
        if self.map_size is not None and (
            more := excess(len(self.skeleton) * self.map_size[0] * self.map_size[1])
        ):
            raise ValueError(f"map_size is {self.map_size}; of one person {more}")
        if (self.map_size is None) != (self.pixel is None):
            raise ValueError(f"map_size is {self.map_size} and pixel {self.pixel}; there are both or neither")

    @classmethod
    def of(cls, teacher: Teacher, flip: bool, scales: tuple[float, ...]) -> Manifest:
        """The manifest of this teacher's predictions with this test-time augmentation."""
        return cls(
            teacher.name,
            teacher.digest,
            teacher.skeleton,
            teacher.size,
            float(teacher.padding),
            teacher.map_size,
            teacher.pixel,
            flip,
            tuple(float(scale) for scale in scales),
            dict(teacher.licences),
            VERSION if teacher.map_size is None else MAPS_VERSION,
            teacher.is_3d,
        )

    @property
    def folder(self) -> str:
        """The store's name: the teacher's, and a digest of everything that its predictions depend on."""
        fields = {
            name: value for name, value in self._fields().items() if name not in ("teacher", "licences")
        }
        digest = hashlib.blake2b(json.dumps(fields).encode(), digest_size=6).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', self.teacher)}-{digest}"

    def to_json(self) -> str:
        """Readable JSON, the same from every writer."""
        return json.dumps(self._fields(), indent=1)

    def _fields(self) -> dict[str, Any]:
        """As in the file, where `is_3d` is called `spatial`, and is left out if it is false: so stores keep
        the names and the bytes that they always had.
        """
        fields = asdict(self)
        if fields.pop("is_3d"):
            fields["spatial"] = True
        return fields

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """The reverse; ValueError if the text is no manifest, or one of another version."""
        try:
            fields = parse_json(text)
            if isinstance(fields, dict):
                fields = {"is_3d" if name == "spatial" else name: value for name, value in fields.items()}
            manifest = from_fields(cls, fields)
        except ValueError as error:
            raise ValueError(f"this is not a store's manifest: {error}") from error
        current = VERSION if manifest.map_size is None else MAPS_VERSION
        if manifest.version < current:
            raise ValueError(
                f"the store is of version {manifest.version}, whose heatmaps were cut below 0.03 and above "
                f"1; delete it and run the teacher again, or name another folder"
            )
        if manifest.version > current:
            raise ValueError(
                f"the store is of version {manifest.version}, this poseling reads version {current}; update "
                f"poseling, or run the teacher again"
            )
        return manifest


class Store:
    """One folder of pseudo-labels, at any URL that fsspec knows."""

    def __init__(self, url: str, manifest: Manifest) -> None:
        self.url, self.manifest = url.rstrip("/"), manifest
        self._files, self._root = fsspec.core.url_to_fs(self.url)

    @property
    def remote(self) -> bool:
        """Whether it is on object storage, where each request costs time and money."""
        return not isinstance(self._files, LocalFileSystem)

    @classmethod
    def create(cls, url: str, manifest: Manifest) -> Store:
        """The store of this manifest under `url`, made if it is not there."""
        store = cls(f"{url.rstrip('/')}/{manifest.folder}", manifest)
        if not store._files.exists(f"{store._root}/{MANIFEST}"):
            store._write(MANIFEST, manifest.to_json().encode())
        return store

    @classmethod
    def open(cls, url: str) -> Store:
        """The store whose folder is `url`; FileNotFoundError if there is none, ValueError if its manifest is
        foreign.
        """
        files, root = fsspec.core.url_to_fs(url.rstrip("/"))
        try:
            text = files.cat_file(f"{root}/{MANIFEST}")
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{url}: there is no store of pseudo-labels ({MANIFEST} is missing); make one with "
                f"`poseling label`"
            ) from None
        try:
            return cls(url, Manifest.from_json(text))
        except ValueError as error:
            raise ValueError(f"{url}/{MANIFEST}: {error}") from error

    @classmethod
    def under(cls, url: str) -> list[Store]:
        """The stores in the folder `url`: itself, if it is one, or those directly below; FileNotFoundError if
        there is none.
        """
        files, root = fsspec.core.url_to_fs(url.rstrip("/"))
        files.invalidate_cache()
        if files.exists(f"{root}/{MANIFEST}"):
            return [cls.open(url)]
        names = sorted(
            path.rsplit("/", 2)[-2] for path in files.find(root, maxdepth=2) if path.endswith(f"/{MANIFEST}")
        )
        return [cls.open(f"{url.rstrip('/')}/{name}") for name in names] or [cls.open(url)]

    def rows(self, keys: list[Key], predictions: Prediction) -> pa.Table:
        """The rows of a part for samples with these keys and the teacher's predictions, on the CPU: scores in
        steps of 1/255, heatmaps packed.
        """
        count, maps, xyz = len(self.manifest.skeleton), predictions.maps, predictions.xyz
        xy = predictions.xy.numpy().astype(np.float32)
        score = np.rint(np.clip(predictions.score.numpy(), 0, 1) * 255).astype(np.uint8)
        columns = {
            "key": pa.array(keys, pa.binary(16)),
            "xy": pa.FixedSizeListArray.from_arrays(pa.array(xy.reshape(-1)), 2 * count),
            "score": pa.FixedSizeListArray.from_arrays(pa.array(score.reshape(-1)), count),
            "maps": pa.nulls(len(keys), pa.large_binary())
            if maps is None
            else pa.array([pack(m) for m in maps.numpy()], pa.large_binary()),
        }
        if xyz is not None:
            flat = pa.array(xyz.numpy().astype(np.float32).reshape(-1))
            columns["xyz"] = pa.FixedSizeListArray.from_arrays(flat, 3 * count)
        return pa.table(columns)

    def write(self, rows: Sequence[pa.Table]) -> None:
        """Adds these `rows` as one part; OSError that names the store if it cannot be written, which leaves
        the other parts as they are.
        """
        buffer = BytesIO()
        # With a checksum a page: of 300 single flipped bits 241 went unnoticed without.
        pq.write_table(
            pa.concat_tables(rows).combine_chunks(),
            buffer,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        self._write(f"part-{uuid.uuid4().hex}.parquet", buffer.getvalue())

    def keys(self, seen: set[str] | None = None) -> set[Key]:
        """The keys of all samples in the store. Only the keys of each part are read: one byte in a hundred of
        a store of heatmaps. Parts in `seen` are left out, and the others are added to it.
        """
        parts = [part for part in self._parts() if seen is None or part not in seen]
        with ThreadPoolExecutor(READERS) as pool:
            found = {key for keys in pool.map(self._keys, parts) for key in keys}
        if seen is not None:
            seen.update(parts)
        return found

    @property
    def claims(self) -> Path | None:
        """The folder for `claims.Claims`; None if the store is not on a disk."""
        return None if self.remote else Path(self._root) / "claims"

    def read(self, wanted: set[Key]) -> Iterator[tuple[list[Key], pa.Table]]:
        """The rows of the wanted samples, each once, part by part: keys, and a table of xy, score, maps and,
        if the store has it, xyz.
        """
        missing = set(wanted)
        for part in self._parts():
            table = self._read(part)
            chosen, keys = [], []
            for row, key in enumerate(table["key"].to_pylist()):
                if key in missing:
                    missing.discard(key)
                    chosen.append(row)
                    keys.append(key)
            if keys:
                yield keys, table.take(chosen)

    def size(self) -> int:
        """Bytes of all parts."""
        return sum(self._files.size(part) for part in self._parts())

    def _keys(self, part: str) -> list[Key]:
        try:
            # No cache that reads ahead: only the ends of the file and the column are read.
            with self._files.open(part, "rb", cache_type="none") as file:
                return list(self._table(file, ["key"])["key"].to_pylist())
        except FileNotFoundError:
            raise
        except (pa.ArrowException, ValueError, OSError):
            # The part is damaged, or the way to it is: reading it whole tells which.
            return list(self._read(part)["key"].to_pylist())

    def _parts(self) -> list[str]:
        self._files.invalidate_cache()
        return sorted(
            path
            for path in self._files.find(self._root, maxdepth=1)
            if re.search(r"/part-[0-9a-f]+\.parquet$", path)
        )

    def _read(self, part: str) -> Any:
        data = self._files.cat_file(part)
        try:
            return self._table(BytesIO(data), None)
        except (pa.ArrowException, ValueError, OSError) as error:  # OSError: a wrong checksum
            raise _damaged(part, error) from error

    def _table(self, file: Any, columns: list[str] | None) -> Any:
        """The `columns` of a part, all if None; ValueError if it is not as this store's manifest says, or
        claims too much.
        """
        parquet, count = pq.ParquetFile(file, page_checksum_verification=True), len(self.manifest.skeleton)
        wanted = {
            "key": pa.binary(16),
            "xy": pa.list_(pa.float32(), 2 * count),
            "score": pa.list_(pa.uint8(), count),
            "maps": pa.large_binary(),
        }
        if self.manifest.is_3d:
            wanted["xyz"] = pa.list_(pa.float32(), 3 * count)
        schema = parquet.schema_arrow
        for name, kind in wanted.items():
            if name not in schema.names or not schema.field(name).type.equals(kind):
                there = schema.field(name).type if name in schema.names else "not there"
                raise ValueError(f"its column {name} is {there}, expected {kind}")
        groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
        if more := excess(
            sum(group.total_byte_size for group in groups) + 16 * sum(group.num_rows for group in groups)
        ):
            raise ValueError(more)
        # On this thread: a thread of pyarrow that still holds the Python file when the interpreter ends would
        # kill the process.
        table = parquet.read(columns=columns or list(wanted), use_threads=False)
        if table["key"].null_count or any(
            table[name].null_count for name in table.column_names if name != "maps"
        ):
            raise ValueError("a row is empty")
        return table

    def _write(self, name: str, data: bytes) -> None:
        """Object storage shows an object once it is whole; a local file is renamed into place."""
        try:
            if isinstance(self._files, LocalFileSystem):
                write_bytes(Path(self._root) / name, data)
            else:
                self._files.makedirs(self._root, exist_ok=True)
                self._files.pipe_file(f"{self._root}/{name}", data)
        except OSError as error:
            cause = os.strerror(error.errno) if error.errno else error
            reason = f"{self.url}: {name} could not be written ({cause})"
            raise OSError(
                error.errno,
                f"{reason}; the pseudo-labels stored before are kept: make room and run the same command "
                f"again to go on",
            ) from error


def _damaged(part: str, error: Exception) -> ValueError:
    return ValueError(
        f"{part}: is no part of a store, or cut short ({error}); delete it and run the teacher again for the "
        f"samples that were in it"
    )
