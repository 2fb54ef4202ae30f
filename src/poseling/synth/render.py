"""Triangles to pixels through OpenGL: colour, depth and part ids. llvmpipe on a CPU, the graphics card if
there is one.

Everything is drawn at twice the image's size; colours are averaged, depth and ids are not, so that they stay
exact.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

OVER = 2  # samples a pixel and axis
NEAR, FAR = 0.2, 60.0  # metres
LIGHTS = 3

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """How a surface looks: one of the patterns below between two colours (linear, 0..1), `frequency` in
    repeats a metre, along `axis` of the rest pose.
    """

    pattern: str = "plain"
    first: Colour = (0.5, 0.5, 0.5)
    second: Colour = (0.5, 0.5, 0.5)
    frequency: float = 10.0
    axis: Colour = (0.0, 1.0, 0.0)
    phase: float = 0.0
    rough: float = 0.1  # how much fine noise
    shine: float = 0.05


PATTERNS = ("plain", "stripes", "checks", "clouds", "spots", "fade", "skin", "hair")


@dataclass(frozen=True, eq=False)
class Layer:
    """Triangles (T, 3) over vertices (V, 3) in camera axes with normals (V, 3); `rest` (V, 3) positions, for
    the pattern; `ids` (V,) of the part; and `keep` (V,): a fragment is drawn where it is above 0, which gives
    clean edges of sleeves and hems.
    """

    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    rest: NDArray[np.float32]
    faces: NDArray[np.int32]
    ids: NDArray[np.float32]
    keep: NDArray[np.float32]
    material: Material
    tint: NDArray[np.float32] | None = None  # (V, 4) a second colour of each vertex, and how much of it
    double_sided: bool = False


@dataclass(frozen=True, eq=False)
class Light:
    """A light's direction (in camera axes, towards the light) and colour."""

    direction: tuple[float, float, float]
    colour: Colour


@dataclass(frozen=True, eq=False)
class Rendered:
    """colour (H, W, 3) 0..255 and alpha (H, W) 0..1 at the image's size; depth (2H, 2W) in metres, inf where
    there is nothing; ids (2H, 2W), 0 for nothing.
    """

    colour: NDArray[np.float32]
    alpha: NDArray[np.float32]
    depth: NDArray[np.float32]
    ids: NDArray[np.uint8]


VERTEX = """
#version 330
uniform vec4 lens;        // fx, fy, cx, cy in pixels
uniform vec2 size;        // W, H
uniform vec2 range;       // near, far
in vec3 at; in vec3 normal; in vec3 rest; in float id; in float keep; in vec4 tint;
out vec3 v_at; out vec3 v_normal; out vec3 v_rest; out float v_keep; out vec4 v_tint; flat out float v_id;
void main() {
    v_at = at; v_normal = normal; v_rest = rest; v_keep = keep; v_id = id; v_tint = tint;
    vec2 pixel = vec2(lens.x * at.x + lens.z * at.z, lens.y * at.y + lens.w * at.z);
    vec2 place = 2.0 * (pixel + 0.5 * at.z) / size - at.z;      // pixel centres at whole numbers
    float depth = (range.y + range.x) / (range.y - range.x) * at.z
                  - 2.0 * range.y * range.x / (range.y - range.x);
    gl_Position = vec4(place.x, place.y, depth, at.z);          // row 0 of the buffer is the image's first
}
"""
FRAGMENT = """
#version 330
const int LIGHTS = 3;
uniform int pattern; uniform vec3 first; uniform vec3 second; uniform vec4 wave;
uniform float frequency; uniform float rough; uniform float shine;
uniform vec3 directions[LIGHTS]; uniform vec3 colours[LIGHTS];
uniform vec3 sky; uniform vec3 ground; uniform vec3 up; uniform float sided;
in vec3 v_at; in vec3 v_normal; in vec3 v_rest; in float v_keep; in vec4 v_tint; flat in float v_id;
layout(location = 0) out vec4 colour; layout(location = 1) out vec4 whose;

float hash(vec3 p) {
    p = fract(p * 0.3183099 + vec3(0.71, 0.113, 0.419)); p *= 17.0;
    return fract(p.x * p.y * p.z * (p.x + p.y + p.z));
}
float noise(vec3 x) {
    vec3 i = floor(x), f = fract(x); f = f * f * (3.0 - 2.0 * f);
    return mix(mix(mix(hash(i), hash(i + vec3(1,0,0)), f.x),
                   mix(hash(i + vec3(0,1,0)), hash(i + vec3(1,1,0)), f.x), f.y),
               mix(mix(hash(i + vec3(0,0,1)), hash(i + vec3(1,0,1)), f.x),
                   mix(hash(i + vec3(0,1,1)), hash(i + vec3(1,1,1)), f.x), f.y), f.z);
}
void main() {
    if (v_keep <= 0.0) discard;
    vec3 n = normalize(v_normal), eye = normalize(-v_at);
    if (dot(n, eye) < 0.0) { if (sided > 0.5) n = -n; else n = normalize(n + eye * (0.02 - dot(n, eye))); }
    float along = dot(v_rest, wave.xyz) * frequency + wave.w;
    float fine = noise(v_rest * 180.0), coarse = noise(v_rest * 21.0 + 7.0);
    float share = 0.0;
    if (pattern == 1) share = step(0.5, fract(along));
    else if (pattern == 2) share = 0.5 * (step(0.5, fract(along))
                                          + step(0.5, fract(dot(v_rest.yzx, wave.xyz) * frequency + wave.w)));
    else if (pattern == 3) share = smoothstep(0.35, 0.65, noise(v_rest * frequency + wave.w) * 0.65
                                                          + noise(v_rest * frequency * 2.3) * 0.35);
    else if (pattern == 4) share = smoothstep(0.62, 0.68, noise(v_rest * frequency * 1.7 + wave.w));
    else if (pattern == 5) share = clamp(along * 0.12 + 0.5, 0.0, 1.0);
    else if (pattern == 6) share = 0.5 * coarse + 0.25 * fine;
    else if (pattern == 7) share = noise(v_rest * vec3(160.0, 22.0, 160.0));
    vec3 base = mix(first, second, share);
    base = mix(base, v_tint.rgb, v_tint.a);
    base *= 1.0 + rough * (0.7 * (fine - 0.5) + 1.1 * (coarse - 0.5));
    // Folds of cloth: the normal is bent a little by noise.
    float bend = rough * 1.6;
    vec3 fold = vec3(noise(v_rest * 34.0), noise(v_rest * 34.0 + 31.0), noise(v_rest * 34.0 + 67.0)) - 0.5;
    n = normalize(n + bend * fold);
    vec3 lit = mix(ground, sky, 0.5 + 0.5 * dot(n, up));
    vec3 gloss = vec3(0.0);
    for (int i = 0; i < LIGHTS; i++) {
        lit += colours[i] * max(dot(n, directions[i]), 0.0);
        gloss += colours[i] * pow(max(dot(n, normalize(directions[i] + eye)), 0.0), 24.0);
    }
    vec3 linear = base * lit + shine * gloss;
    colour = vec4(pow(clamp(linear, 0.0, 1.0), vec3(1.0 / 2.2)), 1.0);
    whose = vec4((v_id + 0.1) / 255.0, 0.0, 0.0, 1.0);
}
"""


class Renderer:
    """Renders images of one size. OSError that says what to install if there is no EGL."""

    def __init__(self, size: int) -> None:
        import moderngl

        try:
            self._context = context = moderngl.create_context(
                standalone=True,
                backend="egl",  # type: ignore[arg-type]
                require=330,
            )
        except Exception as error:
            raise OSError(
                f"OpenGL without a window (EGL) cannot be started: {error}. On Debian and Ubuntu: apt-get "
                f"install libegl1 libgl1-mesa-dri; on other "
                "systems: Mesa's EGL and its software renderer, or the graphics card's driver"
            ) from error
        self.size, wide = size, OVER * size
        self.name = str(context.info["GL_RENDERER"])
        self._program = context.program(VERTEX, FRAGMENT)
        self._colour = context.texture((wide, wide), 4)
        self._whose = context.texture((wide, wide), 1)
        self._depth = context.depth_texture((wide, wide))
        self._target = context.framebuffer([self._colour, self._whose], self._depth)
        self._moderngl = moderngl

    def draw(
        self,
        layers: list[Layer],
        camera: NDArray[np.floating],
        lights: list[Light],
        sky: Colour,
        ground: Colour,
        up: NDArray[np.floating],
    ) -> Rendered:
        """The layers as seen through `camera` (4,) fx fy cx cy in pixels of the image; `up` is the world's up
        in camera axes.
        """
        # Another renderer's context may be the current one, and OpenGL would read the wrong one's buffers.
        with self._context:
            colour, ids, buffer = self._drawn(layers, camera, lights, sky, ground, up)
        with np.errstate(divide="ignore"):
            depth = np.where(
                buffer < 1, NEAR * FAR / (FAR - buffer.astype(np.float64) * (FAR - NEAR)), np.inf
            ).astype(np.float32)
        small = np.asarray(
            cv2.resize(colour, (self.size, self.size), interpolation=cv2.INTER_AREA), np.float32
        )
        alpha = small[..., 3] / np.float32(255)
        # The clear colour is black with alpha 0, so averaging has multiplied colours by alpha.
        return Rendered(
            np.asarray(small[..., :3] / np.maximum(alpha, np.float32(1e-3))[..., None], np.float32),
            alpha,
            depth,
            ids,
        )

    def _drawn(
        self,
        layers: list[Layer],
        camera: NDArray[np.floating],
        lights: list[Light],
        sky: Colour,
        ground: Colour,
        up: NDArray[np.floating],
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """(2H, 2W, 4) colour and cover, (2H, 2W) ids, (2H, 2W) depth from 0 (near) to 1, as the buffers hold
        them.
        """
        context, program, gl = self._context, self._program, self._moderngl
        self._target.use()
        self._target.clear(0, 0, 0, 0, depth=1.0)
        context.enable(gl.DEPTH_TEST)
        # Pixel u of the image covers samples 2u and 2u + 1, so its centre lies at 2u + 0.5.
        fx, fy, cx, cy = (float(v) for v in camera)
        _set(
            program,
            "lens",
            (OVER * fx, OVER * fy, OVER * cx + 0.5 * (OVER - 1), OVER * cy + 0.5 * (OVER - 1)),
        )
        _set(program, "size", (float(OVER * self.size), float(OVER * self.size)))
        _set(program, "range", (NEAR, FAR))
        lights = [*lights, *[Light((0.0, 0.0, -1.0), (0.0, 0.0, 0.0))] * LIGHTS][:LIGHTS]
        _set(program, "directions", [light.direction for light in lights])
        _set(program, "colours", [light.colour for light in lights])
        _set(program, "sky", sky)
        _set(program, "ground", ground)
        _set(program, "up", tuple(float(v) for v in up))
        for layer in layers:
            self._layer(layer)
        wide = OVER * self.size
        return (
            np.frombuffer(self._colour.read(), np.uint8).reshape(wide, wide, 4),
            np.frombuffer(self._whose.read(), np.uint8).reshape(wide, wide),
            np.frombuffer(self._depth.read(), np.float32).reshape(wide, wide),
        )

    def _layer(self, layer: Layer) -> None:
        context, program, material = self._context, self._program, layer.material
        _set(program, "pattern", PATTERNS.index(material.pattern))
        _set(program, "first", material.first)
        _set(program, "second", material.second)
        _set(program, "wave", (*material.axis, material.phase))
        _set(program, "frequency", material.frequency)
        _set(program, "rough", material.rough)
        _set(program, "shine", material.shine)
        _set(program, "sided", 1.0 if layer.double_sided else 0.0)
        tint = np.zeros((len(layer.vertices), 4), np.float32) if layer.tint is None else layer.tint
        packed = np.concatenate(
            [layer.vertices, layer.normals, layer.rest, layer.ids[:, None], layer.keep[:, None], tint], 1
        ).astype(np.float32)
        buffer, index = (
            context.buffer(packed.tobytes()),
            context.buffer(np.ascontiguousarray(layer.faces, np.int32).tobytes()),
        )
        array = context.vertex_array(
            program, [(buffer, "3f 3f 3f 1f 1f 4f", "at", "normal", "rest", "id", "keep", "tint")], index
        )
        array.render()
        for thing in (array, buffer, index):
            thing.release()


def _set(program: Any, name: str, value: Any) -> None:
    # The compiler drops what a shader does not use.
    if name in program:
        program[name].value = value


def is_gpu(renderer: str) -> bool:
    """Whether a renderer's name is a graphics card's."""
    return not re.search("llvmpipe|softpipe|swrast|software", renderer, re.IGNORECASE)
