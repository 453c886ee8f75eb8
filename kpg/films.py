"""Films of episodes: what an environment renders, as a GIF or an MP4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from typing_extensions import override

from kpg import checks, files
from kpg.types import Array

# Fewer colours make a smaller file; what environments draw is flat.
_COLOURS = 64
_FORMATS = (".gif", ".mp4")
_FPS = 30.0
# A GIF counts in hundredths of a second, and players slow down what is faster.
_FASTEST_GIF = 50.0


class Filmed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose frames `[H, W, 3]` uint8 are kept, `width` pixels wide.

    Raises a `ValueError` if it does not render frames.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], width: int | None = None) -> None:
        super().__init__(env)
        if env.render_mode != "rgb_array":
            checks.refuse(
                "render_mode",
                "must be 'rgb_array' of an environment to film; make it with "
                "gymnasium.make(id, render_mode='rgb_array')",
                env.render_mode,
            )
        self.width = width
        self.frames: list[Array] = []

    @override
    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        result = super().reset(**arguments)
        self._look()
        return result

    @override
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        result = super().step(action)
        self._look()
        return result

    def _look(self) -> None:
        frame = np.asarray(self.env.render(), np.uint8)
        if self.width is not None and self.width != frame.shape[1]:
            from PIL import Image

            height = round(frame.shape[0] * self.width / frame.shape[1])
            image = Image.fromarray(frame).resize((self.width, height))
            frame = np.asarray(image)
        self.frames.append(frame)


def check_name(path: Path) -> Path:
    """Returns the path of a film; a `ValueError` if nothing can write its kind."""
    if path.suffix.lower() not in _FORMATS:
        checks.refuse("path", f"must end in {' or '.join(_FORMATS)}", str(path))
    if path.suffix.lower() == ".mp4":
        _encoder()
    return path


def write(path: Path, frames: Sequence[Array], fps: float | None = None) -> None:
    """Writes a film, aside and at once.

    Args:
        path: A file that ends in .gif or, with `pip install "kpg[film]"`, .mp4.
        frames: `[H, W, 3]` uint8 each, all of one size.
        fps: Frames a second, > 0; of a GIF 50 at most. Defaults to 30.

    Raises:
        ValueError: If nothing can write this kind of file.
        OSError: If the file cannot be written; it says which.
    """
    check_name(path)
    rate = checks.positive("fps", fps or _FPS)
    kind = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_aside(path, lambda aside: kind(aside, frames, rate))


def _write_gif(path: Path, frames: Sequence[Array], fps: float) -> None:
    from PIL import Image

    def images() -> Iterator[Image.Image]:
        for frame in frames:
            yield Image.fromarray(frame).quantize(_COLOURS, dither=Image.Dither.NONE)

    first, *others = images()
    milliseconds = round(1000.0 / min(fps, _FASTEST_GIF), -1)
    first.save(
        path, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0
    )


def _write_mp4(path: Path, frames: Sequence[Array], fps: float) -> None:
    height, width = frames[0].shape[:2]
    # Players want even sizes; the encoder's default is multiples of 16.
    writer = _encoder().write_frames(
        str(path), (width, height), fps=fps, macro_block_size=2
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()


def _encoder() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ValueError(
            'A film in .mp4 needs `pip install "kpg[film]"`; a .gif needs nothing more.'
            f" Received: {error}"
        ) from error
    return imageio_ffmpeg
