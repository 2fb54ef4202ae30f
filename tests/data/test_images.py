"""Unlabelled folders and videos."""

from __future__ import annotations

import json
import os
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from poseling.data.images import frames, image_size, images
from poseling.files import IMAGES, read_image
from poseling.skeleton import COCO17, LSP14


def image(path, width=40, height=30, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), value, np.uint8))
    return path


def test_folder_is_searched_to_the_bottom_in_order(tmp_path):
    for name in ("b.png", "a/z.jpg", "a/c.webp", "C.JPEG", ".hidden/d.jpg", "e.bmp"):
        image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    dataset = images(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in dataset.images] == [
        "C.JPEG",
        "a/c.webp",
        "a/z.jpg",
        "b.png",
        "e.bmp",
    ]
    assert (
        dataset.boxes.tolist() == [pytest.approx([3.9, 2.9, 35.1, 26.1])] * 5
    )  # 0.8 of the image, which the padding of 1.25 makes whole again
    assert dataset.skeleton == COCO17
    assert not dataset.labelled
    assert images(tmp_path, skeleton=LSP14).joints.shape == (5, 14, 2)


def test_one_image_is_a_folder_of_one(tmp_path):
    assert images(image(tmp_path / "a.png")).boxes.tolist() == [pytest.approx([3.9, 2.9, 35.1, 26.1])]


def test_broken_images_are_left_out_and_named(tmp_path):
    good = image(tmp_path / "good.jpg", 64, 64)
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:-30])
    (tmp_path / "none.png").write_bytes(b"no image")
    dataset = images(tmp_path)
    assert [p.name for p in dataset.images] == ["good.jpg"]
    assert [(f.kind, f.image.name) for f in dataset.findings] == [
        ("unreadable image", "cut.jpg"),
        ("unreadable image", "none.png"),
    ]


def test_boxes_give_an_image_several_people(tmp_path):
    image(tmp_path / "in/a.jpg")
    image(tmp_path / "b.jpg")
    boxes = {
        "in/a.jpg": [[1, 2, 11, 22], [20, 5, 60, 25], [40, 0, 50, 9], [5, 5, 5, 9]],
        "gone.jpg": [[0, 0, 1, 1]],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    dataset = images(tmp_path)
    assert [p.name for p in dataset.images] == ["a.jpg", "a.jpg"]
    # The second reaches beyond the image, which ends at 39: that is allowed. The third begins at 40.
    assert dataset.boxes.tolist() == [[1, 2, 11, 22], [20, 5, 60, 25]]
    assert sorted((f.kind, f.image.name) for f in dataset.findings) == [
        ("box outside", "a.jpg"),
        ("empty box", "a.jpg"),
        ("missing image", "gone.jpg"),
        ("not listed", "b.jpg"),
    ]


@pytest.mark.parametrize("text", ["[", "[1]", '{"a.jpg": [[1, 2, 3]]}', '{"a.jpg": 3}'])
def test_broken_boxes_name_the_file(tmp_path, text):
    image(tmp_path / "a.jpg")
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(ValueError, match=r"boxes\.json: (expected|is no whole JSON)"):
        images(tmp_path)


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such folder or video"):
        images(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="holds no image"):
        images(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"name one of its 1 videos itself.*a\.mp4"):
        images(tmp_path)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(FileNotFoundError, match=r"none of its 1 images can be used.*cut\.jpg"):
        images(tmp_path)


@pytest.mark.parametrize("suffix", IMAGES)
@pytest.mark.parametrize("size", [(1, 1), (37, 201), (640, 3)])
def test_size_from_the_header_is_that_of_the_image(tmp_path, suffix, size):
    path = image(tmp_path / f"a{suffix}", *size)
    assert image_size(path) == size
    assert read_image(path).shape[1::-1] == size


def test_size_of_a_progressive_jpeg_and_of_one_with_a_long_head(tmp_path):
    data = cv2.imencode(".jpg", np.zeros((31, 47, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[
        1
    ].tobytes()
    (tmp_path / "a.jpg").write_bytes(data)
    assert image_size(tmp_path / "a.jpg") == (47, 31)
    comment = b"\xff\xfe" + (60000).to_bytes(2, "big") + b"\xff\xd9" * 29999
    (tmp_path / "b.jpg").write_bytes(data[:2] + comment + comment + data[2:])
    assert image_size(tmp_path / "b.jpg") == (47, 31)


def test_size_of_a_turned_image_is_that_of_the_upright_one(tmp_path):
    data = cv2.imencode(".jpg", np.zeros((30, 40, 3), np.uint8))[1].tobytes()
    # A TIFF head with one entry: orientation (0x0112), a short, 6: turn by 90 degrees.
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff
    (tmp_path / "a.jpg").write_bytes(
        data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    )
    assert read_image(tmp_path / "a.jpg").shape == (40, 30, 3)
    assert image_size(tmp_path / "a.jpg") == (30, 40)


@pytest.fixture
def video(tmp_path):
    """Two seconds at 10 frames a second; frame i is grey of 10 i."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(20):
            for packet in stream.encode(
                av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * i, np.uint8), format="rgb24")
            ):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("every", "expected"),
    [(0.5, [0, 5, 10, 15]), (0.25, [0, 3, 6, 9, 12, 15, 18]), (0, list(range(20))), (100, [0])],
)
def test_video_frames_at_a_rate(video, every, expected):
    dataset = images(video, every)
    assert [round(float(read_image(p).mean()) / 10) for p in dataset.images] == expected
    assert [p.name for p in dataset.images] == [f"{i:08d}-{100 * i:09d}ms.jpg" for i in expected]
    assert dataset.boxes[0].tolist() == pytest.approx([6.3, 4.7, 56.7, 42.3])


def test_frames_are_decoded_once_and_again_when_the_video_changes(video):
    first = frames(video)
    assert first.parent == video.parent / ".poseling-frames"
    stamp = (first / "00000000-000000000ms.jpg").stat().st_mtime_ns
    assert frames(video) == first
    assert (first / "00000000-000000000ms.jpg").stat().st_mtime_ns == stamp
    assert frames(video, 1.0) != first
    os.utime(video, ns=(0, 0))
    assert frames(video) != first
    assert frames(video, cache=video.parent / "there").parent == video.parent / "there"


def test_a_cut_video_is_an_error_and_leaves_nothing(video):
    video.write_bytes(video.read_bytes()[:600])
    with pytest.raises(OSError, match=r"clip\.mp4: is not a readable video"):
        images(video)
    assert list((video.parent / ".poseling-frames").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(video):
    blocker = video.parent / "file"
    blocker.write_text("not a folder")
    with pytest.raises(OSError, match=r"file: cannot be written to"):
        images(video, cache=blocker)


def test_a_rate_below_zero_is_an_error(video):
    with pytest.raises(ValueError, match="every is -1"):
        images(video, every=-1)


def film(path, times, hurt=(), form=None, pixel=1):
    """Frames of grey 10 i at times in seconds; the packets `hurt` hold nothing that decodes."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 10000)
        stream.codec_context.sample_aspect_ratio = Fraction(pixel)
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(10000 * time), Fraction(1, 10000)
            for packet in stream.encode(frame):
                if i in hurt:
                    damaged = av.Packet(bytes(packet.size))
                    damaged.pts, damaged.dts, damaged.time_base, damaged.stream = (
                        packet.pts,
                        packet.dts,
                        packet.time_base,
                        stream,
                    )
                    packet = damaged
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def test_a_fast_clip_keeps_all_its_frames(tmp_path):
    """At 2500 frames a second two of three lie in one millisecond."""
    dataset = images(film(tmp_path / "fast.mp4", [i / 2500 for i in range(20)]), every=0)
    assert [round(float(read_image(p).mean()) / 10) for p in dataset.images] == list(range(20))


def test_a_raw_stream_without_times_keeps_all_its_frames(tmp_path):
    raw = film(tmp_path / "raw.mjpeg", [i / 30 for i in range(20)], form="mjpeg")
    dataset = images(raw, every=0)
    assert [round(float(read_image(p).mean()) / 10) for p in dataset.images] == list(range(20))
    assert 1 < len(images(raw, every=0.25)) < 8


def test_problems_of_a_video_are_reported_every_time(tmp_path):
    video = film(tmp_path / "hurt.mp4", [i / 10 for i in range(20)], hurt=(3, 4), pixel=2)
    for _ in range(2):  # the second time nothing is decoded
        dataset = images(video, every=0)
        assert [round(float(read_image(p).mean()) / 10) for p in dataset.images] == [
            i for i in range(20) if i not in (3, 4)
        ]
        assert dataset.boxes[0].tolist() == pytest.approx([12.7, 4.7, 114.3, 42.3])
        told = "its pixels are 2 times as wide as high, so its 64x48 are scaled to 128x48; 2 of 20 frames are damaged and were left out"
        assert [(f.kind, f.image, f.message) for f in dataset.findings] == [("odd video", video, told)]


@pytest.mark.shared
def test_a_raw_stream_of_a_public_report(shared, tmp_path):
    raw = shared / "cases/public/04/raw.h264"
    assert [len(images(raw, every, cache=tmp_path)) for every in (0, 0.5)] == [30, 3]


@pytest.mark.shared
def test_a_real_video(shared, tmp_path):
    dataset = images(shared / "data/videos/pose_squats.mp4", every=2.0, cache=tmp_path)
    assert len(dataset) == 7  # 65 frames at 5 a second: 0, 2, ..., 12 seconds
    assert dataset.boxes[0].tolist() == pytest.approx([71.9, 127.9, 647.1, 1151.1])
