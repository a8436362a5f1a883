"""Image files of every kind, and what is said to be lost of them."""

import numpy as np
import pytest
from PIL import Image

from timm_zerosnet.robustness.pictures import ImageError, read_image

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (12, 17), dtype=np.uint8)


def saved(image, path, **options):
    image.save(path, **options)
    return path


def same(image, array, tolerance=0):
    found = np.asarray(image).astype(int)
    expected = np.stack([array] * 3, -1) if array.ndim == 2 and found.ndim == 3 else array
    return found.shape == expected.shape and np.abs(found - expected).max() <= tolerance


def test_colour_and_grey_lose_nothing(tmp_path):
    for array in (COLOUR, GREY, GREY[:1, :1], COLOUR[:1, :1], COLOUR[:1]):
        image, notes = read_image(saved(Image.fromarray(array), tmp_path / 'x.png'), 3)
        assert image.mode == 'RGB' and notes == [] and same(image, array)


def test_bits_and_palettes_lose_nothing(tmp_path):
    few = Image.fromarray(COLOUR).quantize(8)
    image, notes = read_image(saved(few, tmp_path / 'x.png'), 3)
    assert notes == [] and same(image, np.asarray(few.convert('RGB')))
    image, notes = read_image(saved(Image.fromarray(GREY > 99), tmp_path / 'bits.png'), 3)
    assert notes == [] and same(image, 255 * (GREY > 99).astype(int))


@pytest.mark.parametrize('array', [GREY.astype(np.uint16) * 257, (GREY.astype(np.uint16) << 8) + 7])
@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_sixteen_bits(array, suffix, tmp_path):
    image, notes = read_image(saved(Image.fromarray(array), tmp_path / f'x.{suffix}'), 3)
    assert notes == ['16 bits a channel become 8'] and same(image, np.rint(array / 257).astype(int))


def test_sixteen_bits_of_colour(tmp_path):
    """Pillow writes none: a PNG by hand."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    height, width = COLOUR.shape[:2]
    rows = b''.join(b'\0' + (row.astype('>u2') * 257).tobytes() for row in COLOUR)
    header = struct.pack('>IIBBBBB', width, height, 16, 2, 0, 0, 0)
    content = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
    (tmp_path / 'x.png').write_bytes(b'\x89PNG\r\n\x1a\n' + content)
    image, notes = read_image(tmp_path / 'x.png', 3)
    assert notes == ['16 bits a channel become 8'] and same(image, COLOUR)


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'bmp', 'tif', 'webp', 'ppm'])
def test_sixteen_in_a_size_is_no_sixteen_bits(suffix, tmp_path):
    for size in ((160, 120), (116, 90), (16, 16)):
        assert read_image(saved(Image.new('RGB', size, 'red'), tmp_path / f'x.{suffix}'), 3)[1] == []


def test_sixteen_bits_of_a_ppm(tmp_path):
    (tmp_path / 'x.ppm').write_bytes(b'P6 2 2 65535\n' + (np.arange(12) * 257).astype('>u2').tobytes())
    image, notes = read_image(tmp_path / 'x.ppm', 3)
    assert notes == ['16 bits a channel become 8'] and same(image, np.arange(12).reshape(2, 2, 3))
    for text in ('P1 2 2 0 1 1 0', 'P2 2 2 255 0 9 9 0', 'P3 1 1 255 1 2 3'):
        (tmp_path / 'plain.ppm').write_text(text)
        assert read_image(tmp_path / 'plain.ppm', 3)[1] == []


def test_floats_beyond_the_range_by_rounding(tmp_path):
    """Taken for values up to 255, a picture in [0, 1] would be black."""
    pixels = GREY / np.float32(255)
    pixels[0, :2] = -2.4e-7, 1 + 2.4e-7
    Image.fromarray(pixels).save(tmp_path / 'x.tiff')
    found, notes = read_image(tmp_path / 'x.tiff', 1)
    assert notes == ['floats in [0, 1] become 8 bits'] and np.asarray(found)[0, :2].tolist() == [0, 255]
    assert np.array_equal(np.asarray(found)[1:], GREY[1:])


@pytest.mark.parametrize('scale, words', [(1 / 255, 'floats in [0, 1]'), (1, 'floats in [0, 255]')])
def test_floats(scale, words, tmp_path):
    image, notes = read_image(saved(Image.fromarray(GREY.astype(np.float32) * scale), tmp_path / 'x.tif'), 1)
    assert notes == [f'{words} become 8 bits'] and image.mode == 'L' and same(image, GREY)


@pytest.mark.parametrize('value', [-1, 300, np.nan, np.inf])
def test_floats_out_of_range(value, tmp_path):
    array = GREY.astype(np.float32)
    array[0, 0] = value
    with pytest.raises(ImageError, match='expected floats'):
        read_image(saved(Image.fromarray(array), tmp_path / 'x.tif'), 3)


@pytest.mark.parametrize('alpha, expected', [(255, []), (254, ['transparency is dropped, the colours beneath it are'])])
def test_transparency(alpha, expected, tmp_path):
    rgba = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    rgba[0, 0, 3] = alpha
    image, notes = read_image(saved(Image.fromarray(rgba), tmp_path / 'x.png'), 3)
    assert [note[:50] for note in notes] == [note[:50] for note in expected] and same(image, COLOUR)


def test_transparent_colour_of_a_palette(tmp_path):
    image = Image.fromarray(COLOUR).quantize(8)
    _, notes = read_image(saved(image, tmp_path / 'x.png', transparency=0), 3)
    assert notes == ['transparency is dropped, the colours beneath it are seen']


def test_cmyk(tmp_path):
    image, notes = read_image(saved(Image.fromarray(COLOUR).convert('CMYK'), tmp_path / 'x.tif'), 3)
    assert notes == ['CMYK becomes RGB without a colour profile'] and same(image, COLOUR, 1)


@pytest.mark.parametrize('suffix', ['gif', 'png', 'webp', 'tif'])
def test_first_frame(suffix, tmp_path):
    frames = [Image.new('RGB', (8, 8), colour) for colour in ('red', 'green', 'blue')]
    options = dict(lossless=True) if suffix == 'webp' else {}
    path = saved(frames[0], tmp_path / f'x.{suffix}', save_all=True, append_images=frames[1:], **options)
    image, notes = read_image(path, 3)
    assert notes == ['the first of 3 frames is taken'] and image.getpixel((3, 3)) == (255, 0, 0)


def test_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right shows it upright
    image, notes = read_image(saved(Image.fromarray(COLOUR), tmp_path / 'x.png', exif=exif), 3)
    assert notes == ['it is turned as its EXIF orientation says'] and same(image, np.rot90(COLOUR, -1))


def test_damaged_or_unknown_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 99
    for data in (exif, b'no such data at all'):
        image, notes = read_image(saved(Image.fromarray(COLOUR), tmp_path / 'x.png', exif=data), 3)
        assert notes == [] and same(image, COLOUR)


def test_grey_model(tmp_path):
    image, notes = read_image(saved(Image.fromarray(COLOUR), tmp_path / 'x.png'), 1)
    assert image.mode == 'L' and notes == ['colours become grey']
    image, notes = read_image(saved(Image.fromarray(np.stack([GREY] * 3, -1)), tmp_path / 'x.png'), 1)
    assert notes == [] and same(image, GREY)


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'gif', 'webp', 'bmp', 'tif'])
@pytest.mark.parametrize('share', [0.3, 0.7, 0.95])
def test_truncated(suffix, share, tmp_path):
    array = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(Image.fromarray(array), tmp_path / f'x.{suffix}')
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ImageError) as error:
        read_image(path, 3)
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)


def test_limit_of_pixels(tmp_path, monkeypatch):
    path = saved(Image.fromarray(GREY), tmp_path / 'x.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', GREY.size / 2)
    read_image(path, 3)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', GREY.size // 2 - 1)
    with pytest.raises(ImageError, match=f'x.png is too large: expected at most {2 * (GREY.size // 2 - 1)} pixels'):
        read_image(path, 3)
