#!/usr/bin/env python
"""Pretrain the tiny CLIP that ZeroShapes starts from: python tools/pretrain_clip.py weights/zeroshapes_clip.npz

Pictures and captions are drawn on the way; nothing is read from disk. Written after every test, so
that a run that is cut short leaves its last state.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from jseg.checkpoints import save_npz


def main() -> int:
    defaults = dict(iterations=3000, batch_size=96, seed=0)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="file to write (.npz, half precision, compressed)")
    parser.add_argument("--iterations", type=int, default=defaults["iterations"])
    parser.add_argument("--batch-size", type=int, default=defaults["batch_size"])
    parser.add_argument("--scenes", type=int, default=20000, help="scenes drawn before training")
    parser.add_argument("--seed", type=int, default=defaults["seed"])
    arguments = parser.parse_args()

    from jseg.models.clip import CLIPConfig
    from jseg.runner.pretrain import PretrainSettings, pretrain

    config = CLIPConfig(embed_dim=64, image_resolution=64, vision_layers=5, vision_width=128, vision_patch_size=8,
                        context_length=32, vocab_size=49408, transformer_width=64, transformer_layers=3)
    settings = PretrainSettings(iterations=arguments.iterations, batch_size=arguments.batch_size,
                                num_scenes=arguments.scenes, seed=arguments.seed)

    def save(arrays) -> None:
        save_npz(arguments.out, {name: value.astype(np.float16) for name, value in arrays.items()})

    pretrain(config, settings, lambda line: print(line, flush=True), save)
    print(f"wrote {arguments.out} ({arguments.out.stat().st_size / 1e6:.2f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
