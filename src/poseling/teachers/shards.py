"""How several processes share the labelling: by image, and by the content of the image file.

Each image goes to one process with all its samples, so it is decoded once. Which process that is follows from
the file's size and the `BLOCK` bytes in its middle, not from its name or its place in a list: folders may be
mounted differently, lists may be in another order or longer, a copy of an image goes to the same process, and
still no sample is predicted twice. Two different images that agree in these bytes go to the same process,
which does no harm. So a process reads one small block of all images, and the whole of only its own.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray

READERS = 4  # threads that wait for the disk, or for the network that it hangs on
BLOCK = 4096  # bytes in the middle of a file: compressed pixels, where photographs differ
PATIENCE = timedelta(minutes=10)  # for processes of one launch that start late
# The variables that give this process's number and how many there are. Those of torchrun and accelerate come
# first: under srun each node may run one of them.
LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
MEETING = ("MASTER_ADDR", "MASTER_PORT")


def share(
    images: Iterable[Path],
    shard: tuple[int, int],
    deal: str = "",
    digests: Mapping[Path, bytes | None] | None = None,
) -> NDArray[np.int64]:
    """The places in `images` that process i of `shard` (i, n) labels, in order; with the same `deal` each
    place belongs to exactly one process.

    Another `deal`, and another n, is another division, independent of the first: what a lost process left is
    shared evenly among all processes of the next launch. `digests` of the files, where they are known, serve
    instead of the blocks. An image that cannot be read is dealt by its name.
    """
    which, of = shard
    images = list(images)
    if of == 1:
        return np.arange(len(images))
    unique = list(dict.fromkeys(images))
    with ThreadPoolExecutor(READERS) as pool:
        contents = pool.map(_block, unique) if digests is None else (digests.get(image) for image in unique)
        owner = {
            image: _owner(os.fsencode(image) if content is None else content, of, deal)
            for image, content in zip(unique, contents, strict=True)
        }
    return np.flatnonzero([owner[image] == which for image in images])


def shard_of_environment() -> tuple[int, int]:
    """(i, n), the number of this process and how many there are, as torchrun, accelerate or SLURM's srun set
    it: (0, 1) where none of them does. ValueError if it makes no sense.
    """
    for rank, size in LAUNCHERS:
        if rank in os.environ and size in os.environ:
            which, of = os.environ[rank], os.environ[size]
            if not (which.isdecimal() and of.isdecimal() and int(which) < int(of)):
                raise ValueError(
                    f"the environment has {rank}={which} and {size}={of}, which is no process of so many; "
                    f"unset them, or give --shard I N"
                )
            return int(which), int(of)
    return 0, 1


def deal_of_environment() -> str:
    """A text that all processes of one launch share and that differs at the next launch: see `share`. ""
    where they cannot agree, which always gives the same division.

    Under torchrun and accelerate the first process draws it and sends it to the others (they meet at
    MASTER_ADDR:MASTER_PORT); under srun it is the number of the job, the step and the restart. OSError if the
    others do not come.
    """
    which, of = shard_of_environment()
    if of == 1:
        return ""
    if "RANK" not in os.environ:
        return " ".join(
            os.environ.get(f"SLURM_{name}", "") for name in ("JOB_ID", "STEP_ID", "RESTART_COUNT")
        )
    if any(name not in os.environ for name in MEETING):
        return ""
    deal = [secrets.token_hex(8)]
    try:
        dist.init_process_group("gloo", rank=which, world_size=of, timeout=PATIENCE)
        try:
            dist.broadcast_object_list(deal)
            # The first process serves the meeting place: it may not leave before the last has received it.
            dist.barrier()
        finally:
            dist.destroy_process_group()
    except RuntimeError as error:
        place = ":".join(os.environ[name] for name in MEETING)
        reason = f"the {of} processes of this launch did not meet at {place}"
        raise OSError(
            f"{reason} ({str(error).splitlines()[0]}); start all of them, or share the work by hand with "
            f"--shard I N"
        ) from error
    return deal[0]


def device_of_environment(device: str) -> str:
    """`device`, and for plain cuda the GPU that torchrun or accelerate assigned to this process, which sees
    all GPUs of its machine.
    """
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if device == "cuda" and local is not None else device


def _block(image: Path) -> bytes | None:
    try:
        with image.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, (size - BLOCK) // 2))
            return size.to_bytes(8, "little") + file.read(BLOCK)
    except OSError:
        return None


def _owner(content: bytes, of: int, deal: str) -> int:
    """A number in 0..of - 1, each as likely as the others."""
    digest = hashlib.blake2b(
        content, digest_size=8, key=hashlib.blake2b(f"{of} {deal}".encode(), digest_size=16).digest()
    ).digest()
    return int.from_bytes(digest, "little") % of
