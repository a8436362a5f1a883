"""The official scripts' motion blur, snow and elastic transform, step by step with the libraries that they call.

``python tests/support/reference_corruptions.py`` writes ``tests/data/corruption_references.npz``. It needs wand with
ImageMagick 6 and opencv-python-headless 4.10: later versions of OpenCV do not round positions to 1/32 px. The file was
made with ImageMagick 6.9.11-60 and OpenCV 4.10.0.
"""

from __future__ import annotations

import ctypes
from io import BytesIO
from pathlib import Path

import numpy as np
import perturbations
from PIL import Image
from places import CIFAR10_SAMPLE
from sklearn.datasets import load_sample_images

from timm_zerosnet.robustness import SUITES
from timm_zerosnet.robustness.data import load_labelled

RECORDED = Path(__file__).parents[1] / 'data' / 'corruption_references.npz'
NAMES = ('motion_blur', 'snow', 'elastic_transform')
CASES = [('cifar-c', severity) for severity in range(1, 6)] + [('imagenet-c', severity) for severity in (1, 3, 5)]


def source(suite, severity):
    """A uint8 picture (H, W, 3): of 32 px for cifar-c, a part of a photograph of 64 px for imagenet-c."""
    if suite == 'cifar-c':
        return load_labelled(CIFAR10_SAMPLE).images[severity]
    photograph = load_sample_images().images[severity % 2]
    return np.ascontiguousarray(photograph[200:264, 250 : 250 + 64])


def numbers(suite, severity, side):
    """Numbers to draw from: normal (side, side), and uniform as many as the elastic transform takes."""
    state = np.random.RandomState(severity + (suite == 'cifar-c') * 100)
    return state.normal(size=(side, side)), state.random_sample(6 + 2 * side**2)


def draws(name, normal, uniform):
    return perturbations.GivenDraws(uniform if name == 'elastic_transform' else uniform[:1], normal)


def reference(name, suite, severity, image, normal, uniform):
    """uint8 (H, W, 3), with the strengths of the suite."""
    strength = SUITES[suite][name].strength(severity)
    return {'motion_blur': motion_blur, 'snow': snow, 'elastic_transform': elastic}[name](
        image, strength, normal, uniform
    )


def magick_motion(picture, radius, sigma, angle):
    """ImageMagick's motion blur of a uint8 picture, from PNG to PNG."""
    from wand.api import library
    from wand.image import Image as MagickImage

    library.MagickMotionBlurImage.argtypes = (ctypes.c_void_p, *[ctypes.c_double] * 3)
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, 'PNG')
    with MagickImage(blob=buffer.getvalue()) as blurred:
        library.MagickMotionBlurImage(blurred.wand, radius, sigma, angle)
        result = Image.open(BytesIO(blurred.make_blob()))
    return np.asarray(result.convert('RGB' if picture.ndim == 3 else 'L'))


def motion_blur(image, strength, normal, uniform):
    return magick_motion(image, *strength, 90 * uniform[0] - 45)


def snow(image, strength, normal, uniform):
    import cv2
    from scipy import ndimage

    mean, deviation, factor, threshold, radius, sigma, share = strength
    side = len(image)
    part = int(np.ceil(side / factor))
    centre = slice((side - part) // 2, (side - part) // 2 + part)
    layer = ndimage.zoom((mean + deviation * normal)[centre, centre], factor, order=1)
    cut = (len(layer) - side) // 2
    layer = layer[cut : cut + side, cut : cut + side]
    layer = np.uint8(255 * np.clip(np.where(layer < threshold, 0, layer), 0, 1))
    flakes = magick_motion(layer, radius, sigma, 90 * uniform[0] - 135)[..., None] / 255
    x = image.astype(np.float32) / 255
    grey = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]
    x = share * x + (1 - share) * np.maximum(x, 1.5 * grey + 0.5)
    return np.uint8(255 * np.clip(x + flakes + flakes[::-1, ::-1], 0, 1))


def elastic(image, strength, normal, uniform):
    import cv2
    from scipy import ndimage

    factor, sigma, reach = strength
    side, x = len(image), image.astype(np.float32) / 255
    moves, *fields = np.split(2 * uniform - 1, [6, 6 + side**2])
    middle, arm = side // 2, side // 3
    corners = np.float32([[middle + arm, middle + arm], [middle + arm, middle - arm], [middle - arm, middle - arm]])
    moved = corners + np.float32(reach * moves.reshape(3, 2))
    matrix = cv2.getAffineTransform(corners, moved)
    x = cv2.warpAffine(x, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    across, down = (
        np.float32(factor * ndimage.gaussian_filter(field.reshape(side, side), sigma, mode='reflect', truncate=3))
        for field in fields
    )
    rows, columns = np.indices((side, side))
    at = [rows + down, columns + across]
    x = np.stack([ndimage.map_coordinates(x[..., c], at, order=1, mode='reflect') for c in range(3)], -1)
    return np.uint8(255 * np.clip(x, 0, 1))


def main():
    found = {}
    for suite, severity in CASES:
        image = source(suite, severity)
        for name in NAMES:
            drawn = numbers(suite, severity, len(image))
            found[f'{name} {suite} {severity}'] = reference(name, suite, severity, image, *drawn)
    np.savez_compressed(RECORDED, **found)


if __name__ == '__main__':
    main()
