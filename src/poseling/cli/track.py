"""`poseling track`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from poseling.cli.console import frames_a_second, say, stopped


def track(
    source: str,
    *,
    model: str = "poseling-n",
    adapter: str | None = None,
    detector: str | None = None,
    detector_adapter: str | None = None,
    detect_every: int = 10,
    out: Path | None = None,
    box: tuple[float, float, float, float] | None = None,
    json: Path | None = None,
    csv: Path | None = None,
    bvh: Path | None = None,
    smooth: bool = True,
    lookahead: int = 0,
    camera: tuple[float, float, float, float] | None = None,
    height: float | None = None,
    fit: bool = True,
    provider: str = "cpu",
    threshold: float = 0.2,
) -> None:
    """Find and draw the people in a video, an image, a folder of images, or what a camera sees. One person,
    with --detector all of them. Works without torch; Ctrl-C keeps what is done.

    Parameters
    ----------
    source
        A video, an image, a folder, the number of a camera (0 is the first), or a URL (rtsp, http, https).
    model
        A network of the zoo by name (`poseling models`), or an ONNX file: from `poseling export`, from a
        recipe, or any other with --adapter.
    adapter
        For an unknown ONNX file: movenet, blazepose, blazepose-maps, rtmpose, or a JSON file (docs/teachers.md).
    detector
        Find everybody with this detector: its name in the zoo, or an ONNX file (docs/runtime.md).
    detector_adapter
        For an unknown detector: rtmdet-nano, yolov8, or a JSON file (docs/runtime.md).
    detect_every
        The detector runs every so many frames, and when somebody is lost or nobody is there; 0: only then.
    out
        Output file or folder of the drawn images or video; the folder `drawn` if neither --out nor --json is
        given.
    box
        X0 Y0 X1 Y1 around the person, in pixels, in a video in its first frame; if not given, the person is
        searched for.
    json
        Also write the poses, a JSON line a frame.
    csv
        Also write the poses as a table, a row a frame and person.
    bvh
        Also write the motion of the body as BVH, for Blender; of a network without depth what can be told
        from the picture (docs/live.md).
    smooth
        Filter the poses of a video over time.
    lookahead
        Filter each frame with this many frames after it, which nearly removes the lag.
    camera
        FX FY CX CY of the camera in pixels, for a person's position in metres; guessed from the image's size
        if not given.
    height
        The person's height in metres; the network's estimate if not given.
    fit
        Fit a body with constant bone lengths and joint limits to a network's 3D joints, in a video.
    provider
        The execution provider: cpu, cuda, tensorrt, openvino, coreml, directml or xnnpack; auto measures
        those that are here and takes the fastest.
    threshold
        The lowest score of joints that are drawn, and in a video the lowest mean score of a person.
    """
    from contextlib import ExitStack

    from poseling.live.table import Table
    from poseling.live.take import Takes
    from poseling.pose import Pose
    from poseling.runtime import video
    from poseling.runtime.network import fastest
    from poseling.runtime.pipeline import Frame
    from poseling.runtime.pipeline import track as run

    place = video.source_of(source)
    takes = None if bvh is None else Takes(height)
    if out is None and json is None and csv is None and bvh is None:
        out = Path("drawn")
        say(f"Drawing into {out.resolve()}; --out names another folder")
    if provider == "auto":
        took = fastest(model, adapter=adapter)
        provider = next(iter(took))
        say(f"{', '.join(f'{name} {ms:.1f} ms' for name, ms in took.items())}: running on {provider}")
    empty = frames = 0

    def seen(frame: int, pose: Pose) -> None:
        nonlocal empty, frames
        empty, frames = empty + (not len(pose)), frames + 1
        progress.update(bar, advance=1, description="tracking")

    with ExitStack() as stack:
        sinks: list[Callable[[Frame], None]] = [] if takes is None else [takes]
        sinks += [] if csv is None else [stack.enter_context(Table(csv))]
        progress = stack.enter_context(frames_a_second())
        bar = progress.add_task("starting", total=video.expected(place))
        try:
            done = run(
                model,
                source,
                out,
                box,
                json,
                provider=provider,
                seen=seen,
                smooth=smooth,
                lookahead=lookahead,
                camera=camera,
                height=height,
                fit=fit,
                threshold=threshold,
                adapter=adapter,
                detector=detector,
                detector_adapter=detector_adapter,
                detect_every=detect_every,
                measured=lambda frame: progress.update(bar, description=f"measuring, frame {frame + 1}"),
                sinks=sinks,
                sunk={flag: path for flag, path in (("--csv", csv), ("--bvh", bvh)) if path is not None},
                lifts=takes is not None,
            )
        except KeyboardInterrupt:
            done = None
        if done is not None:
            frames = done.frames
            progress.update(bar, total=frames)
    drawn = out if done is None else done.drawn
    written = [str(path) for path in (drawn, json, csv) if path is not None]
    if takes is not None and bvh is not None and frames:
        written += [str(path) for path in takes.write(bvh)]
    told = f"{frames} frame{'' if frames == 1 else 's'}" + (
        f", {empty} of them without a person" if empty else ""
    )
    if done is None:
        stopped(f"Stopped after {told}: {', '.join(written) if frames else 'nothing written'}")
    say(f"{told}: {', '.join(written)}, by {done.network}")
    if takes is not None and takes.lifted:
        say("The network has no depth: the motion is estimated from 2D joints (docs/live.md)")
    for note in done.notes:
        say(note, "yellow")
