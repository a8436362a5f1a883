"""The one reader of image files: any kind becomes the 8-bit picture that a model takes, and notes say what was lost."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Sequence, overload

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from .._errors import one_line

GREY = ('1', 'L', 'LA', 'La')
ROUNDING = 1e-6  # what resizing in floats leaves beyond [0, 1]
SIXTEEN_BITS = '16 bits a channel become 8'


class ImageError(ValueError):
    """A file cannot be used as an image; the message says why."""


def read_image(path: Path, channels: int, upright: bool = True) -> tuple[Image.Image, list[str]]:
    """The first picture in a file, in 8 bits; Pillow's warnings about it are left out.

    Args:
        path: A file of any format that Pillow reads.
        channels: 1 for grey, 3 for colour.
        upright: Turn it as its EXIF orientation says; timm's scripts, which read test sets, do not.

    Returns:
        The image in mode L or RGB, and in words what was lost.

    Raises:
        ImageError: if the file is missing, a folder, no image, truncated or beyond Pillow's limit of pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the notes or the errors say the same
        return decode(path, channels, upright)


def decode(path: Path, channels: int, upright: bool = True) -> tuple[Image.Image, list[str]]:
    """As ``read_image``, with Pillow's warnings: for threads, which share one filter of warnings."""
    if path.is_dir():
        raise ImageError(f'{path} is a folder; expected an image file')
    if not path.exists():
        raise ImageError(f'{path} does not exist')
    try:
        with open(path, 'rb') as file:
            return decode_file(file, str(path), channels, upright)
    except PermissionError as error:
        raise ImageError(f'{path} may not be read: {error.strerror}') from error


def decode_file(file: BinaryIO, name: str, channels: int, upright: bool = True) -> tuple[Image.Image, list[str]]:
    """As ``decode``, of an open file, such as a member of a tar file, which errors call ``name``."""
    try:
        with Image.open(file) as image:
            return _picture(image, channels, upright)
    except ImageError as error:
        raise ImageError(f'{name}: {error}') from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(f'{name} is too large: expected at most {limit:,} pixels ({one_line(error)})') from error
    except UnidentifiedImageError as error:
        raise ImageError(f'{name} ({file.seek(0, 2)} bytes) is no image that Pillow reads') from error
    except Exception as error:  # Pillow's decoders raise many kinds
        raise ImageError(f'{name} is truncated or damaged: {one_line(error)}') from error


class Pictures(ABC, Sequence[Image.Image]):
    """Pictures that are decoded when they are asked for, each time anew.

    Indexing gives a picture in colour, a slice a list of them. What is read is picklable: worker processes read too.

    Args:
        names: The name of each picture, unique in the data set, as notes give it.
        identity: Which data set it is: plain values, such as the path of its folder.
    """

    def __init__(self, names: Sequence[str], identity: Sequence[Any]) -> None:
        self.names, self.identity = names, identity

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image.Image]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | list[Image.Image]:
        indices = range(len(self))[index]
        if isinstance(indices, int):
            return self.read(indices)[0]
        return [self.read(i)[0] for i in indices]

    def read(self, index: int) -> tuple[Image.Image, list[str]]:
        """The picture in mode RGB and in words what was lost; EXIF orientation is left alone, as timm does.

        Raises:
            ImageError: if it cannot be read.
        """
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return self.decode(index)

    @abstractmethod
    def decode(self, index: int) -> tuple[Image.Image, list[str]]:
        """As ``read``, with Pillow's warnings: for threads, which share one filter of warnings."""

    @abstractmethod
    def stamp(self, index: int) -> tuple[int, ...]:
        """Size in bytes of the picture's file, and what changes with its content; zeros where there is no file."""


def file_stamp(path: str | Path) -> tuple[int, ...]:
    """Size, time of modification and time of change of a file; zeros where there is none.

    A copy can be given the former time of modification, but no program sets the time of change.
    """
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0, 0
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


class PictureFiles(Pictures):
    """Pictures in files of their own below a folder."""

    def __init__(self, files: Sequence[Path], root: Path) -> None:
        super().__init__([file.relative_to(root).as_posix() for file in files], [str(root.resolve())])
        self.root = root

    def decode(self, index: int) -> tuple[Image.Image, list[str]]:
        return decode(self.root / self.names[index], 3, upright=False)

    def stamp(self, index: int) -> tuple[int, ...]:
        return file_stamp(self.root / self.names[index])


def _picture(image: Image.Image, channels: int, upright: bool) -> tuple[Image.Image, list[str]]:
    notes = []
    if (frames := getattr(image, 'n_frames', 1)) > 1:
        notes.append(f'the first of {frames} frames is taken')
    deep = any(_is_deep(tile[0], tile[3]) for tile in getattr(image, 'tile', ()))
    image.load()
    if _orientation(image) in range(2, 9):
        notes.append(
            'it is turned as its EXIF orientation says' if upright else 'an EXIF orientation is left alone, as in timm'
        )
        image = ImageOps.exif_transpose(image) if upright else image
    if image.mode.startswith(('I', 'F')):
        image, note = _scaled(image)
        notes.append(note)
    elif deep:
        notes.append(SIXTEEN_BITS)
    transparent = {'A', 'a'} & {*image.getbands()} or 'transparency' in image.info
    if transparent and image.convert('RGBA').getchannel('A').getextrema() != (255, 255):
        notes.append('transparency is dropped, the colours beneath it are seen')
    if image.mode == 'CMYK':
        notes.append('CMYK becomes RGB without a colour profile')
    if channels == 1 and image.mode not in GREY and _has_colours(image):
        notes.append('colours become grey')
    return image.convert('L' if channels == 1 else 'RGB'), notes


def _orientation(image: Image.Image) -> Any:
    """The EXIF orientation, 1 where there is none or the EXIF data are damaged."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's readers of EXIF raise of many kinds
        return 1


def _is_deep(codec: str, arguments: Any) -> bool:
    """Whether Pillow decodes more than 8 bits: its raw mode says so, of a PPM the largest value."""
    values = arguments if isinstance(arguments, tuple) else (arguments,)
    if codec.startswith('ppm'):
        return any(isinstance(value, int) and value > 255 for value in values)
    return any(isinstance(value, str) and ';16' in value for value in values)


def _has_colours(image: Image.Image) -> bool:
    pixels = np.asarray(image.convert('RGB'))
    return bool((pixels != pixels[..., :1]).any())


def _scaled(image: Image.Image) -> tuple[Image.Image, str]:
    """Grey values of 16 bits or floats in 8 bits, and the note that says so."""
    pixels = np.asarray(image).astype(np.float64)
    low, high = (float(pixels.min()), float(pixels.max())) if np.isfinite(pixels).all() else (np.nan, np.nan)
    if image.mode == 'F' and -ROUNDING <= low and high <= 1 + ROUNDING:
        scale, note = 255.0, 'floats in [0, 1] become 8 bits'
    elif image.mode == 'F' and -255 * ROUNDING <= low and high <= 255 * (1 + ROUNDING):
        scale, note = 1.0, 'floats in [0, 255] become 8 bits'
    elif image.mode != 'F' and 0 <= low and high <= 65535:
        scale, note = 1 / 257, SIXTEEN_BITS
    else:
        expected = 'floats in [0, 1] or [0, 255]' if image.mode == 'F' else 'integers from 0 to 65535'
        raise ImageError(f'expected {expected}, got values from {low:.9g} to {high:.9g}')
    return Image.fromarray(np.rint(pixels * scale).clip(0, 255).astype(np.uint8)), note


class PictureStream(ABC):
    """Pictures with their labels that one process reads once, in their order, as timm's iterable readers give them.

    Args:
        identity: Which data set it is and in which state: plain values, such as its name, split and files.
        count: Number of pictures, as far as it is known before they are read.
    """

    def __init__(self, identity: Sequence[Any], count: int | None) -> None:
        self.identity, self.count = identity, count

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        """Each picture with its label."""
