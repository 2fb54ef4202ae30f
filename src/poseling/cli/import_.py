"""`poseling import`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from poseling.cli.console import say


def import_(
    checkpoint: str,
    *,
    network: str = "hourglass-8x256",
    out: Path | None = None,
    until: str | None = None,
    size: tuple[int, int] | None = None,
    skeleton: str | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    colour: Literal["rgb", "bgr"] | None = None,
    images: Path | None = None,
) -> None:
    """Convert an ONNX network, or a checkpoint of FPD's or VNect's authors, to a checkpoint of Poseling: to
    train, teach, evaluate or export.

    An ONNX file's graph is converted up to the tensor --until and compared with ONNX Runtime. MoveNet,
    BlazePose and files of `poseling export` need no options.

    Parameters
    ----------
    checkpoint
        An .onnx file, or a network of the zoo by name (`poseling models`). Of FPD's authors, an hourglass trained on MPII at 256x256: a .pth or .pth.tar file from
        ilovepose/fast-human-pose-estimation.pytorch. Of VNect's: a .pkl or .npz file, made of their Caffe
        model by caffe2pkl.py of XinArkh/VNect.
    network
        Which network FPD's or VNect's file holds: hourglass-STACKSxCHANNELS or vnect-50.
    out
        The checkpoint to write (.safetensors); beside theirs if not given.
    until
        ONNX: the heatmaps, before a sigmoid or softmax, or a feature map for a new head. A tensor's name or
        an unambiguous part of it.
    size
        ONNX: width and height of the network's images; the file's own if not given.
    skeleton
        ONNX: the skeleton of the heatmaps, by name: coco17, mpii16, lsp14, ...
    mean
        ONNX: the mean that is subtracted from pixels of 0..1, where the file does not contain it.
    std
        ONNX: the standard deviation that they are then divided by.
    colour
        ONNX: the file's colour order; rgb if not given.
    images
        ONNX: a folder of images for the comparison.
    """
    from poseling import zoo

    path = zoo.resolve(checkpoint)
    if path.suffix.lower() == ".onnx":
        beside = Path() if zoo.is_name(checkpoint) else path.parent
        out = out or beside / f"{path.stem}.safetensors"
        _import_onnx(path, out, until, size, skeleton, mean, std, colour, images)
    else:
        out = out or path.with_name(path.name.removesuffix(".tar")).with_suffix(".safetensors")
        _import_published(path, out, network)


def _import_published(checkpoint: Path, out: Path, network: str) -> None:
    from poseling.codecs import Heatmap, LocationMap
    from poseling.codecs.location_map import VNECT_HEIGHT
    from poseling.files import keep_apart, refuse_folders
    from poseling.models.checkpoint import save
    from poseling.models.importers.fpd import load_fpd
    from poseling.models.importers.vnect import load_vnect
    from poseling.skeleton import MPII16, VNECT21
    from poseling.spec import PoseSpec

    keep_apart({"--out": out}, {"their checkpoint itself": [checkpoint]})
    refuse_folders({"--out": out})
    licences = {"code": "Apache-2.0", "weights": "as its authors say"}
    if network == "vnect-50":
        # In training a person filled 0.7 to 1 of the image. The width of their heatmaps is not published.
        maps = LocationMap((368, 368), decoding="quarter", unbiased=False, height=VNECT_HEIGHT)
        licences["data"] = "MPII, LSP, Human3.6M, MPI-INF-3DHP: research"
        spec = PoseSpec(
            network,
            VNECT21,
            maps.fields(),
            maps.size,
            1.2,
            "bgr",
            (0.4,) * 3,
            (1.0,) * 3,
            licences=licences,
            recipe="imported from VNect's authors",
        )
        save(out, load_vnect(checkpoint), spec)
        say(f"{out}: {network}, {VNECT21.name}")
        return
    codec = Heatmap((256, 256), decoding="quarter", unbiased=False)
    licences["data"] = "MPII: research"
    # Their MPII configuration: COLOR_RGB false, ImageNet's mean and std, boxes of 200 x scale pixels times
    # 1.25.
    spec = PoseSpec(
        network,
        MPII16,
        codec.fields(),
        codec.size,
        1.25,
        "bgr",
        licences=licences,
        recipe="imported from FPD's authors",
    )
    save(out, load_fpd(checkpoint, network, len(MPII16)), spec)
    say(f"{out}: {network}, {MPII16.name}. Check it: poseling evaluate {out} --data mpii --root DIR")


def _import_onnx(
    file: Path,
    out: Path,
    until: str | None,
    size: tuple[int, int] | None,
    skeleton: str | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    colour: str | None,
    images: Path | None,
) -> None:
    from poseling.data import images as folders
    from poseling.evaluate.cost import cost
    from poseling.export.parity import synthetic, windows
    from poseling.files import keep_apart, refuse_folders
    from poseling.models.checkpoint import save
    from poseling.models.importers.onnx import from_onnx
    from poseling.skeleton import SKELETONS

    keep_apart({"--out": out}, {"the network itself": [file]})
    refuse_folders({"--out": out})
    if skeleton is not None and skeleton not in SKELETONS:
        raise ValueError(f"skeleton {skeleton!r} is unknown; there is {', '.join(SKELETONS)}")
    whose = None if skeleton is None else SKELETONS[skeleton]
    shown = folders.images(images).images if images else None
    start = from_onnx(
        file,
        until,
        size,
        skeleton=whose,
        mean=mean,
        std=std,
        colour=colour,
        crops=lambda s: windows(shown, s) if shown else synthetic(s),
    )
    spec, network = start.spec, start.network
    save(out, network, spec)
    whole, shape = cost(network, spec.size), network.shapes(spec.size)[network.graph.output]
    joints = f"joints of {spec.skeleton.name}" if len(spec.skeleton) else "features, no joints yet"
    say(
        f"{out}: {whole.params:,} parameters, {whole.gmac:.2f} GMAC at {spec.size[0]}x{spec.size[1]}, "
        f"{network.graph.output} {shape[1:]}, {joints}; "
        f"from ONNX Runtime on {'images' if shown else 'generated images'} it differs by "
        f"{start.difference:.1g} of the range"
    )
