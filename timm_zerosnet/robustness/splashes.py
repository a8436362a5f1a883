"""The relief of water on a lens: edges, distances from them, and filters on 8-bit pictures, in numpy.

What OpenCV does with a uint8 picture in the scripts of Hendrycks and Dietterich, in integers wherever it has integers,
so that the pixels depend on no version of OpenCV.
"""

from __future__ import annotations

import numpy as np

WEAK, STRONG = 50, 150  # thresholds of the edges
FAR = 20  # px; larger distances count as this
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
TAN_22_5 = 13573  # the tangent of 22.5 degrees times 2**15
STRAIGHT, DIAGONAL, KNIGHT = 1.0, 1.4, 2.1969  # lengths of a step along an axis, along a diagonal, of a knight's move


def water_depth(liquid: np.ndarray) -> np.ndarray:
    """Liquid times its emboss-filtered distance from edges, float32, of uint8 layers (N, H, W)."""
    distances = edge_distances(find_edges(liquid))
    relief = np.floor(_mean_3x3(distances)).astype(np.uint8)
    relief = np.stack([equalise(layer) for layer in relief])
    relief = _correlate_3x3(relief.astype(np.int32), EMBOSS).clip(0, 255)
    relief = np.rint(_mean_3x3(relief.astype(np.float64)))
    return (liquid * relief).astype(np.float32)


def find_edges(layers: np.ndarray) -> np.ndarray:
    """Canny's edges of uint8 layers (N, H, W) as booleans: Sobel's gradient in the norm |dx| + |dy|.

    A pixel is an edge if its gradient is the largest across the edge, and above ``STRONG``, or above ``WEAK`` and
    connected to such a pixel.
    """
    height, width = layers.shape[1:]
    values = np.pad(layers, ((0, 0), (1, 1), (1, 1)), mode='edge').astype(np.int32)
    rows = values[:, :-2] + 2 * values[:, 1:-1] + values[:, 2:]
    columns = values[..., :-2] + 2 * values[..., 1:-1] + values[..., 2:]
    dx, dy = rows[..., 2:] - rows[..., :-2], columns[:, 2:] - columns[:, :-2]
    size = np.zeros_like(values)
    size[:, 1:-1, 1:-1] = np.abs(dx) + np.abs(dy)
    # the few pixels above the lower threshold are looked at one by one, as indices into the padded layers
    at = np.flatnonzero(size > WEAK)
    size, stride = size.ravel(), width + 2
    image, place = np.divmod(at, (height + 2) * stride)
    row, column = np.divmod(place, stride)
    dx, dy = dx[image, row - 1, column - 1], dy[image, row - 1, column - 1]
    across, down = np.abs(dx), np.abs(dy) << 15
    flat, steep = down < across * TAN_22_5, down > across * (TAN_22_5 + (2 << 15))
    aside = np.where(flat, 1, stride + np.where(steep, 0, np.where((dx ^ dy) < 0, -1, 1)))
    before, after = size[at - aside], size[at + aside]
    largest = (size[at] > before) & ((size[at] > after) | (flat | steep) & (size[at] == after))
    weak, edges = np.zeros(size.size, dtype=bool), np.zeros(size.size, dtype=bool)
    weak[at[largest]] = True
    fresh = at[largest & (size[at] > STRONG)]
    edges[fresh] = True
    neighbours = np.array([-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1])
    while fresh.size:  # the weak ones that touch a new one
        fresh = (fresh[:, None] + neighbours).ravel()
        fresh = np.unique(fresh[weak[fresh] & ~edges[fresh]])
        edges[fresh] = True
    return edges.reshape(values.shape)[:, 1:-1, 1:-1]


def edge_distances(edges: np.ndarray) -> np.ndarray:
    """Distance of each pixel of (N, H, W) from the nearest edge in steps of a 5 x 5 chamfer mask, float32, px.

    At most ``FAR``. Of the edges in a row the one nearest to the pixel's column counts, for each row within reach.
    """
    height, width = edges.shape[1:]
    columns = np.arange(width, dtype=np.int32)
    before = np.maximum.accumulate(np.where(edges, columns, -FAR), 2)
    after = np.minimum.accumulate(np.where(edges, columns, width + FAR)[..., ::-1], 2)[..., ::-1]
    across = np.minimum(np.minimum(columns - before, after - columns), FAR)
    nearest = np.full(edges.shape, FAR, dtype=np.float32)
    for down in range(min(FAR, height)):
        distances = CHAMFER[down].take(across)
        for one, other in ((np.s_[:, down:], np.s_[:, : height - down]), (np.s_[:, : height - down], np.s_[:, down:])):
            np.minimum(nearest[one], distances[other], out=nearest[one])
    return nearest


def _chamfer() -> np.ndarray:
    """The distance in px for each step down and across up to ``FAR``, (FAR + 1, FAR + 1), float32."""
    down, across = np.indices((FAR + 1, FAR + 1))
    short, long = np.minimum(down, across), np.maximum(down, across)
    flat = (long - 2 * short) * STRAIGHT + short * KNIGHT
    steep = (long - short) * KNIGHT + (2 * short - long) * DIAGONAL
    return np.minimum(np.where(2 * short <= long, flat, steep), FAR).astype(np.float32)


CHAMFER = _chamfer()


def equalise(picture: np.ndarray) -> np.ndarray:
    """Histogram equalisation of a uint8 picture; one that is plain stays as it is."""
    counts = np.bincount(picture.ravel(), minlength=256)
    lowest = int(picture.min())
    if counts[lowest] == picture.size:
        return picture
    scale = np.float32(255) / np.float32(picture.size - counts[lowest])
    above = (np.cumsum(counts) - counts[lowest]).clip(0)
    return np.rint(above.astype(np.float32) * scale).clip(0, 255).astype(np.uint8)[picture]


def _correlate_3x3(layers: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """3 x 3 correlation of (N, H, W), mirrored at the border pixels."""
    height, width = layers.shape[1:]
    padded = np.pad(layers, ((0, 0), (1, 1), (1, 1)), mode='reflect')
    total = np.zeros_like(layers)
    for (down, across), weight in np.ndenumerate(kernel):
        if weight:
            part = padded[:, down : down + height, across : across + width]
            total += part if weight == 1 else weight * part
    return total


def _mean_3x3(layers: np.ndarray) -> np.ndarray:
    return _correlate_3x3(layers, np.ones((3, 3), dtype=int)) / 9
