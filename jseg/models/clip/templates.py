"""Prompt templates: what stands around a class word before it goes to the text encoder.

Source: the text embeddings shipped with CLIP-RC. `single` (no full stop) is that of PASCAL VOC;
`ensemble15` (with full stops) that of COCO-Stuff 164K and PASCAL Context. `imagenet80` are the templates that
OpenAI published with CLIP for ImageNet (MIT licence).
"""

from collections.abc import Sequence
from pathlib import Path

_IMAGENET = Path(__file__).with_name("data") / "imagenet_templates.txt"

TEMPLATES: dict[str, tuple[str, ...]] = {
    "single": ("a photo of a {}",),
    "ensemble15": (
        "a photo of a {}.",
        "a photo of a small {}.",
        "a photo of a medium {}.",
        "a photo of a large {}.",
        "This is a photo of a {}.",
        "This is a photo of a small {}.",
        "This is a photo of a medium {}.",
        "This is a photo of a large {}.",
        "a {} in the scene.",
        "a photo of a {} in the scene.",
        "There is a {} in the scene.",
        "There is the {} in the scene.",
        "This is a {} in the scene.",
        "This is the {} in the scene.",
        "This is one {} in the scene.",
    ),
    "imagenet80": tuple(_IMAGENET.read_text(encoding="utf-8").splitlines()),
}


def get_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """The templates of a name of `TEMPLATES`, or the given list itself, each with one `{}`.

    Raises:
        ValueError: unknown name, an empty list, or a template without exactly one `{}`.
    """
    if isinstance(templates, str):
        if templates not in TEMPLATES:
            raise ValueError(
                f"unknown templates '{templates}'; choose one of {', '.join(TEMPLATES)}, or give a list"
            )
        return TEMPLATES[templates]
    if not templates:
        raise ValueError(
            f"the list of templates is empty; give at least one, or a name: {', '.join(TEMPLATES)}"
        )
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(
                f"template '{template}' must contain {{}} exactly once, where the class word goes"
            )
    return tuple(templates)
