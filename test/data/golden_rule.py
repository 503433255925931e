"""Numpy-only rules that re-create every parameter, input image and target used
by the golden files in this folder.  No torch, no official code needed."""

import math
import zlib

import numpy as np


def _normal(key: str, shape):
    """Standard normals (float64, C order) from a PCG64 stream seeded by crc32 of the key."""
    return np.random.default_rng(zlib.crc32(key.encode('utf-8'))).standard_normal(tuple(shape))


def param(name: str, shape) -> np.ndarray:
    """Value of the parameter (or buffer) called `name` in the official state_dict."""
    shape = tuple(int(s) for s in shape)
    n = _normal(name, shape)
    if name.endswith('.weight') and len(shape) in (1, 3):  # every LayerNorm gain
        v = 1.0 + 0.1 * n
    elif name.endswith('.weight') and len(shape) in (
        2,
        4,
    ):  # linear / conv / transposed conv / embedding
        v = n / math.sqrt(math.prod(shape[1:]))
    elif name.endswith('.positional_embedding'):  # SAM random-Fourier matrix (a buffer)
        v = n
    else:  # biases, tokens, position embeddings
        v = 0.1 * n
    return v.astype(np.float32)


def feature_mean(teacher: str, channels: int) -> np.ndarray:
    """Stand-in for feature_stats/imagenet_mean_*.npy in the decoder goldens."""
    return (0.1 * _normal('feature_mean/' + teacher, (channels,))).astype(np.float32)


def feature_std(teacher: str, channels: int) -> np.ndarray:
    """Stand-in for feature_stats/imagenet_var_*.npy (which hold STANDARD DEVIATIONS)."""
    return np.abs(1.0 + 0.1 * _normal('feature_std/' + teacher, (channels,))).astype(np.float32)


def target(teacher: str, tokens: int, channels: int) -> np.ndarray:
    """Distillation target used by the loss golden, shape (1, tokens, channels)."""
    return _normal('target/' + teacher, (1, tokens, channels)).astype(np.float32)


def _noise(h, w, seed):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def _scene(h, w):
    """Gradient background + filled rectangles, a disc and a checkerboard; integer maths only."""
    y, x = np.mgrid[0:h, 0:w].astype(np.int64)
    img = np.stack(
        [(255 * x) // (w - 1), (255 * y) // (h - 1), (255 * (x + y)) // (w + h - 2)], -1
    )
    img[h // 8 : h // 3, w // 10 : w // 3] = (220, 40, 30)
    img[h // 2 : h - h // 10, w // 2 : w - w // 12] = (20, 60, 200)
    disc = (4 * x - 3 * w) ** 2 + (4 * y - h) ** 2 < (min(h, w)) ** 2 * 2 // 3
    img[disc] = (240, 230, 40)
    check = (((x * 32) // w + (y * 32) // h) % 2 == 0) & (y > (3 * h) // 5) & (x < (2 * w) // 5)
    img[check] = (250, 250, 250)
    return img.astype(np.uint8)


def image(name: str) -> np.ndarray:
    """HxWx3 uint8 RGB test images."""
    y, x = np.mgrid[0:224, 0:224].astype(np.int64)
    return {
        'noise_224': lambda: _noise(224, 224, 1234),
        'gradient_224': lambda: np.stack(
            [(255 * x) // 223, (255 * y) // 223, (255 * (x + y)) // 446], -1
        ).astype(np.uint8),
        'gray_224': lambda: np.full((224, 224, 3), 128, np.uint8),
        'noise_480x640': lambda: _noise(480, 640, 5678),
        'scene_480x640': lambda: _scene(480, 640),
        'scene_96x128': lambda: _scene(96, 128),  # upscaled by the preprocessor
        'scene_320x256': lambda: _scene(
            320, 256
        ),  # used un-resized with position-embedding interpolation
        'noise_1x_odd': lambda: _noise(333, 517, 91),
    }[name]()


IMAGES_224 = ['noise_224', 'gradient_224', 'gray_224']
IMAGES_RESIZED = ['noise_480x640', 'scene_480x640', 'scene_96x128', 'noise_1x_odd']

DEIT = {  # size: hidden, heads, mlp
    'tiny': (192, 3, 768),
    'small': (384, 6, 1536),
    'base': (768, 12, 3072),
}
TEACHERS = {  # name: (C, H, W) of the predicted map, in the order of the cddsv config
    'google/vit-huge-patch14-224-in21k': (1280, 16, 16),
    'facebook/dinov2-large': (1024, 16, 16),
    'openai/clip-vit-large-patch14': (1024, 16, 16),
    'facebook/sam-vit-huge': (256, 64, 64),
    'LiheYoung/depth-anything-large-hf': (32, 64, 64),
}


def sam_synthetic(points=60, masks=3, size=224):
    """Disc-shaped mask logits (points, masks, size, size) and scores (points, masks).

    Used by the golden of the mask filter.
    """
    g = np.random.default_rng(zlib.crc32(b'sam_synthetic'))
    cx, cy = g.uniform(0, size, (2, points, 1))
    rad = g.uniform(6, 60, (points, masks))
    slope = 10.0 ** g.uniform(
        -1.5, 0.5, (points, masks)
    )  # logit per pixel: low slope = unstable mask
    score = g.uniform(0.3, 1.05, (points, masks)).astype(np.float32)
    y, x = np.mgrid[0:size, 0:size]
    dist = np.sqrt((x - cx[..., None, None]) ** 2 + (y - cy[..., None, None]) ** 2)
    return (slope[..., None, None] * (rad[..., None, None] - dist)).astype(np.float32), score


def summary(a) -> np.ndarray:
    """[mean, std (population), min, max, l2 norm, mean |.|] in float64."""
    a = np.asarray(a, dtype=np.float64)
    return np.array(
        [a.mean(), a.std(), a.min(), a.max(), np.sqrt((a * a).sum()), np.abs(a).mean()]
    )
