"""Time and memory of `Segmenter`: words changed on an encoded image, and images of any size.

    python benchmarks/front_door.py                  # CLIP-RC with the sizes of ViT-B/16
    python benchmarks/front_door.py --model DenseCLIP --clip H-14 --layers 2 --megapixels 0.25

Weights are random: they have no influence on time and memory. Every word list is new, so that its embeddings
are computed; "known words" is the same list asked again. Memory is the peak of the process above what it was
before the image was encoded, model and text encoder included there.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import exit_status

# Image encoder (patch, width, layers, heads, resolution), text encoder (width, layers, heads), joint width,
# activation.
CLIPS = {
    "tiny": ((8, 128, 5, 2, 64), (64, 3, 1), 64, "quick_gelu"),
    "B-32": ((32, 768, 12, 12, 224), (512, 12, 8), 512, "quick_gelu"),
    "B-16": ((16, 768, 12, 12, 224), (512, 12, 8), 512, "quick_gelu"),
    "L-14": ((14, 1024, 24, 16, 224), (768, 12, 12), 768, "quick_gelu"),
    "L-14-336": ((14, 1024, 24, 16, 336), (768, 12, 12), 768, "quick_gelu"),
    "H-14": ((14, 1280, 32, 16, 224), (1024, 24, 16), 1024, "gelu"),
}
TEMPLATES = {"CLIPRC": "single", "DenseCLIP": "imagenet80"}


def write_clip(path, name: str, layers: int | None) -> None:
    """A CLIP of random weights; `layers` of both encoders in place of its own."""
    from jseg.checkpoints import save_arrays
    from jseg.models.clip import CLIP, CLIPConfig
    from jseg.models.state import arrays_of

    (patch, width, depth, heads, resolution), (text_width, text_depth, text_heads), joint, activation = CLIPS[
        name
    ]
    config = CLIPConfig(
        embed_dim=joint,
        image_resolution=resolution,
        vision_layers=layers or depth,
        vision_width=width,
        vision_patch_size=patch,
        context_length=77,
        vocab_size=49408,
        transformer_width=text_width,
        transformer_layers=layers or text_depth,
        vision_heads=heads,
        transformer_heads=text_heads,
        activation=activation,
    )
    arrays = {name: value.astype(np.float16) for name, value in arrays_of(CLIP(config)).items()}
    arrays["logit_scale"] = arrays["logit_scale"].reshape(())
    told = {"vision_heads": str(heads), "text_heads": str(text_heads), "activation": activation}
    save_arrays(path, arrays, told)


def make_segmenter(model: str, clip: str, crop: int):
    """A Segmenter with `model` on a CLIP and windows of `crop` pixels, without a checkpoint."""
    from jseg.inference.loading import Loaded
    from jseg.inference.recipe import TestRecipe
    from jseg.inference.segmenter import Segmenter
    from jseg.models.segmentors import MODELS

    offered = {"class_names": ("object",), "unseen": (), "image_size": crop}
    built = MODELS.build(
        {"type": model, "clip": clip, "templates": TEMPLATES[model]}
        | ({} if model == "DenseCLIP" else {"setting": "full"}),
        where="model",
        offered=offered,
    )
    built.eval()
    inference = {"mode": "slide", "crop_size": crop, "stride": crop * 5 // 6}
    config = {"dataset": {"test": {"pipeline": {"short_side": crop}}}, "inference": inference}
    recipe = TestRecipe.from_config(config, built.patch_size)
    return Segmenter(Loaded(built, recipe, (), (), clip, TEMPLATES[model], 0.0))


def word_lists(count: int) -> Iterator[list[str]]:
    """Lists of `count` words that were never asked before."""
    number = 0
    while True:
        yield [f"thing {number + index}" for index in range(count)]
        number += count


def reset_peak() -> float:
    """Forgets the peak of this process (Linux) and returns its memory now, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(entry: str) -> float:
    """MiB of an entry of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{entry}:"))


def measure(segmenter, megapixels: float, words: int, lists: Iterator[list[str]], runs: int) -> dict:
    """Medians over `runs`, in seconds, and the highest peak in MiB."""
    height = round((megapixels * 1e6 * 2 / 3) ** 0.5)
    image = np.random.default_rng(0).integers(0, 256, (height, round(height * 1.5), 3), np.uint8)
    rows, peak = [], 0.0
    for _ in range(runs):
        before = reset_peak()
        start = time.perf_counter()
        view = segmenter.encode(image)
        encoded = time.perf_counter()
        view.segment(next(lists))
        whole = time.perf_counter()
        asked = next(lists)
        segmenter.text_features(asked)
        text = time.perf_counter()
        view.segment(asked)
        known = time.perf_counter()
        peak = max(peak, memory("VmHWM") - before)
        rows.append((encoded - start, whole - encoded, whole - start, text - whole, known - text))
    names = ("encode", "first", "whole", "text", "known")
    return {**dict(zip(names, np.median(rows, axis=0).tolist())), "peak": peak}


def run(args: argparse.Namespace) -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JSEG_CACHE"] = folder  # no embeddings of an earlier run
        clip = f"{folder}/clip.safetensors"
        write_clip(clip, args.clip, args.layers)
        segmenter = make_segmenter(args.model, clip, args.crop)
        lists = word_lists(args.words[-1])
        segmenter.segment(np.zeros((args.crop, args.crop * 3 // 2, 3), np.uint8), next(lists))  # compiles
        print(f"{args.model}, CLIP {args.clip}, windows of {args.crop} px; load {os.getloadavg()[0]:.1f}")
        print(
            "| megapixels | words | encode s | text s | decode s | whole s | known words / whole | peak MiB |"
        )
        print("|---:|---:|---:|---:|---:|---:|---:|---:|")
        for megapixels in args.megapixels:
            for words in args.words:
                lists = (each[:words] for each in word_lists(words + len(args.words)))
                found = measure(segmenter, megapixels, words, _tagged(lists, megapixels, words), args.runs)
                print(
                    f"| {megapixels:g} | {words} | {found['encode']:.2f} | {found['text']:.2f} | "
                    f"{found['known']:.2f} | {found['whole']:.2f} | {found['known'] / found['whole']:.2f} | "
                    f"{found['peak']:.0f} |",
                    flush=True,
                )


def _tagged(lists: Iterator[list[str]], megapixels: float, words: int) -> Iterator[list[str]]:
    for each in lists:
        yield [f"{word} of {megapixels:g} {words}" for word in each]


def main() -> int:
    """0 on success, 2 after an error of the user."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=TEMPLATES, default="CLIPRC")
    parser.add_argument("--clip", choices=CLIPS, default="B-16")
    parser.add_argument("--layers", type=int, help="of both encoders, in place of the CLIP's own")
    parser.add_argument("--crop", type=int, default=512, help="side of a window in pixels")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.25, 4, 24])
    parser.add_argument("--words", type=int, nargs="+", default=[1, 20, 171])
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
