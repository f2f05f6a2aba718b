"""The recorded tiny CLIP of `tests/golden/clip_tiny`, and smaller random ones."""

from pathlib import Path

import numpy as np
import pytest

from jseg.models.clip import CLIP, CLIPConfig, load_clip

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture(scope="session")
def golden_clip(openai_archive: Path) -> CLIP:
    return load_clip(str(openai_archive))


@pytest.fixture(scope="session")
def recorded() -> dict[str, np.ndarray]:
    """Inputs and outputs recorded from OpenAI's CLIP."""
    with np.load(GOLDEN / "clip_tiny" / "io.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def small_config() -> CLIPConfig:
    """All sizes are different numbers, so that mix-ups are found."""
    return CLIPConfig(
        embed_dim=24,
        image_resolution=20,
        vision_layers=2,
        vision_width=128,
        vision_patch_size=4,
        context_length=9,
        vocab_size=50,
        transformer_width=64,
        transformer_layers=3,
        vision_heads=2,
        transformer_heads=1,
    )
