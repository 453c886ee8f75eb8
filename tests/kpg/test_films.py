"""Films of episodes, as files that a player would read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kpg import films
from tests.painted import HEIGHT, STEPS, WIDTH, Painted


def frames(width: int | None = None) -> list[Any]:
    env = films.Filmed(Painted("rgb_array"), width)
    env.reset()
    for step in range(STEPS):
        env.step(step % 2)
    return env.frames


def test_a_gif_has_each_frame_in_its_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "film.gif"
    seen = frames()
    films.write(path, seen, fps=20)
    film: Any
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (STEPS + 1, (WIDTH, HEIGHT))
        for index, frame in enumerate(seen):
            film.seek(index)
            assert film.info["duration"] == 50
            np.testing.assert_allclose(np.asarray(film.convert("RGB")), frame, atol=3)
    assert [entry.name for entry in path.parent.iterdir()] == ["film.gif"]


# The library that reads it does not close its files.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_mp4_has_them_too(tmp_path: Path) -> None:
    import imageio_ffmpeg

    path = tmp_path / "film.mp4"
    films.write(path, frames(), fps=25)
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert count == STEPS + 1 and seconds == pytest.approx(count / 25, abs=0.05)
    reader = imageio_ffmpeg.read_frames(str(path))
    assert next(reader)["size"] == (WIDTH, HEIGHT)
    reader.close()


def test_frames_are_as_wide_as_asked() -> None:
    assert {frame.shape for frame in frames(16)} == {(HEIGHT // 2, 16, 3)}
    assert frames()[3].shape == (HEIGHT, WIDTH, 3)


def test_what_cannot_be_filmed_or_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"rgb_array.*render_mode=None"):
        films.Filmed(Painted())
    with pytest.raises(ValueError, match=r"\.gif or \.mp4. Received: .*film.avi"):
        films.write(tmp_path / "film.avi", frames())
    with pytest.raises(ValueError, match="fps"):
        films.write(tmp_path / "film.gif", frames(), fps=-1.0)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ValueError, match=r"kpg\[film\].*Received"):
        films.write(tmp_path / "film.mp4", frames())
    (tmp_path / "film.gif").mkdir()
    with pytest.raises(OSError, match="film.gif"):
        films.write(tmp_path / "film.gif", frames())
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.gif"]
