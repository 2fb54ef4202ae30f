"""What the tests share: the folder of real images and networks, where it is there, and one thread for torch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A machine may be busy: how long an example takes is no fault.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

SHARED = Path(os.environ.get("POSELING_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with `data/` and `peers/`; tests that need it are marked `shared` and skip where it is
    absent.
    """
    if not (SHARED / "data" / "README.md").is_file():
        pytest.skip(
            f"{SHARED} is not there: this test needs its images or networks (POSELING_SHARED names another "
            f"place)"
        )
    return SHARED
