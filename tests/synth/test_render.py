import numpy as np
import pytest

from poseling.geometry import project
from poseling.synth.render import OVER, Layer, Light, Material, Renderer, is_gpu

SIZE = 64
LENS = np.array([80.0, 80.0, 31.5, 31.5])


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    pytest.importorskip("moderngl")
    return Renderer(SIZE)


def square(
    x0: float,
    y0: float,
    x1: float,
    y1: float,
    z: float,
    colour=(1.0, 1.0, 1.0),
    who: int = 1,
    keep=(1.0, 1.0, 1.0, 1.0),
) -> Layer:
    corners = np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]], np.float32)
    material = Material(first=colour, second=colour, rough=0.0, shine=0.0)
    normals = np.tile(np.array([[0, 0, -1]], np.float32), (4, 1))
    return Layer(
        corners,
        normals,
        corners,
        np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        np.full(4, who, np.float32),
        np.array(keep, np.float32),
        material,
    )


def draw(renderer: Renderer, *layers: Layer):
    # Only the sky's light: half of it and half of the ground's reach a surface that looks at the camera.
    return renderer.draw(list(layers), LENS, [], (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), np.array([0.0, -1.0, 0.0]))


def test_a_point_is_drawn_where_it_projects_to(renderer: Renderer):
    # A square of one pixel about the pixel (40, 20), two metres away.
    half, centre = 2 * 0.5 / 80, (np.array([40, 20]) - 31.5) / 80 * 2
    out = draw(renderer, square(*(centre - half), *(centre + half), 2.0))
    rows, columns = np.nonzero(out.alpha > 0.5)
    assert (rows.tolist(), columns.tolist()) == ([20], [40])
    assert out.alpha.sum() == pytest.approx(1)
    np.testing.assert_allclose(project(np.array([*centre, 2.0]), LENS), [40, 20], atol=1e-6)


def test_depth_is_in_metres_and_the_nearer_hides_the_farther(renderer: Renderer):
    out = draw(renderer, square(-1, -1, 1, 1, 3.0, who=7), square(-0.1, -0.1, 0.1, 0.1, 1.5, who=9))
    wide = OVER * SIZE
    assert out.depth[wide // 2, wide // 2] == pytest.approx(1.5, abs=1e-4)
    assert out.depth[20, wide // 2] == pytest.approx(3.0, abs=1e-4)
    assert (out.ids[wide // 2, wide // 2], out.ids[20, wide // 2], out.ids[0, 0]) == (9, 7, 0)
    assert np.isinf(out.depth[0, 0])


def test_colours_are_averaged_over_a_pixel_and_lit(renderer: Renderer):
    # A surface of half the light's linear colour, lit by white from all round.
    out = draw(renderer, square(-0.5, -0.5, 0.5, 0.5, 2.0, (0.5, 0.25, 0.0)))
    np.testing.assert_allclose(out.colour[32, 32], 255 * np.array([0.5, 0.25, 0]) ** (1 / 2.2), atol=1.01)
    lit = renderer.draw(
        [square(-0.5, -0.5, 0.5, 0.5, 2.0, (0.5, 0.5, 0.5))],
        LENS,
        [Light((0, 0, -1), (0.6, 0.6, 0.6))],
        (0, 0, 0),
        (0, 0, 0),
        np.array([0, -1.0, 0]),
    )
    np.testing.assert_allclose(lit.colour[32, 32], 255 * 0.3 ** (1 / 2.2), atol=1.01)


def test_what_is_not_kept_is_cut_off(renderer: Renderer):
    out = draw(renderer, square(-0.5, -0.5, 0.5, 0.5, 2.0, keep=(-1, 1, 1, -1)))  # the left half is cut
    row = out.alpha[32] > 0.5
    assert row.sum() == 20, "half of the forty pixels that a metre two metres away covers"
    assert row[32:52].all()
    assert not row[:32].any()


def test_alpha_at_an_edge_is_the_covered_share(renderer: Renderer):
    # The square ends in the middle of pixel 40: half of it is covered, and its colour is not darkened by what
    # is behind.
    out = draw(renderer, square(-0.5, -0.5, (40 - 31.5) / 80 * 2, 0.5, 2.0))
    assert out.alpha[32, 40] == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(out.colour[32, 40], 255, atol=2)


def test_the_same_scene_gives_the_same_bytes(renderer: Renderer):
    layer = square(-0.4, -0.3, 0.5, 0.2, 1.7, (0.3, 0.6, 0.2))
    first, second = draw(renderer, layer), draw(renderer, layer)
    assert first.colour.tobytes() == second.colour.tobytes()
    assert first.depth.tobytes() == second.depth.tobytes()


def test_renderers_of_two_sizes_do_not_disturb_each_other(renderer: Renderer):
    layer = square(-0.4, -0.3, 0.5, 0.2, 1.7, (0.3, 0.6, 0.2))
    before, larger = draw(renderer, layer), Renderer(2 * SIZE)
    for _ in range(2):
        wide = larger.draw(
            [layer],
            2 * LENS + [0, 0, 0.5, 0.5],
            [],
            (1.0, 1.0, 1.0),
            (1.0, 1.0, 1.0),
            np.array([0.0, -1.0, 0.0]),
        )
        assert wide.alpha.sum() == pytest.approx(4 * before.alpha.sum(), rel=0.02)
        assert draw(renderer, layer).colour.tobytes() == before.colour.tobytes()


def test_no_egl_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    moderngl = pytest.importorskip("moderngl")

    def broken(**_: object) -> None:
        raise Exception("libEGL.so.1: cannot open shared object file")

    monkeypatch.setattr(moderngl, "create_context", broken)
    with pytest.raises(OSError, match=r"libEGL\.so\.1.*apt-get install libegl1 libgl1-mesa-dri"):
        Renderer(SIZE)


@pytest.mark.parametrize(
    ("name", "gpu"),
    [("llvmpipe (LLVM 15.0.6, 256 bits)", False), ("softpipe", False), ("NVIDIA H200/PCIe/SSE2", True)],
)
def test_a_graphics_card_is_recognised(name: str, gpu: bool):
    assert is_gpu(name) is gpu
