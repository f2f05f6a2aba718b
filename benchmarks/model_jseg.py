"""Worker of `model.py` for jseg. JSEG_TREE names the checkout to import, this one or an older one, and
JSEG_CHECKPOINT_BLOCKS=1 turns on activation checkpointing."""

import os
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [os.environ["JSEG_TREE"], str(Path(__file__).resolve().parent)]

from model_worker import Job, read_job, serve, settled

from jseg.checkpoints import EncoderSizes
from jseg.gpu_check.speed import profile_summary
from jseg.models.segmentors import CLIPRC
from jseg.optim import AdamW
from jseg.runtime.backend import jt


def build(job: Job) -> CLIPRC:
    """The model, with the weights of the folder, which the first worker writes."""
    s, weights = job.sizes, job.folder / "weights.npz"
    np.random.seed(0)
    model = CLIPRC.from_sizes(
        EncoderSizes(s.layers, s.width, 16, s.joint),
        s.width // 64,
        job.text,
        range(s.seen, s.classes),
        backbone=dict(
            type="RegionBridgeEncoder",
            num_prompts=s.prompts,
            num_regions=s.regions,
            checkpoint_blocks=os.environ.get("JSEG_CHECKPOINT_BLOCKS") == "1",
        ),
        decode_head=dict(type="CLIPRCHead", num_heads=s.joint // 64),
        image_size=s.size,
    )
    if weights.exists():
        with np.load(weights) as arrays:
            model.load_arrays(dict(arrays))
    else:
        np.savez(weights, **model.state_arrays())
    return model


def main() -> None:
    job = read_job()
    model = build(job)
    image, label = jt.array(job.image), jt.array(job.label)
    jt.sync_all(True)
    held = settled()
    optimizer = AdamW(model.trainable_parameters(), lr=1e-4) if job.kind == "training" else None
    jt.sync_all(True)

    def work() -> None:
        if optimizer:
            model.train()
            terms = model.loss(image, label)
            optimizer.step(terms["total"], lambda base: base)
            jt.sync(list(terms.values()))
        else:
            model.eval()
            model.predict(image).numpy()
        jt.sync_all(True)

    def parity() -> dict[str, np.ndarray]:
        model.eval()
        if job.kind == "inference":
            return {"probabilities": model.predict(image).numpy()}
        with jt.no_grad():
            terms = model.loss(image, label)
        return {name: term.numpy() for name, term in terms.items() if name != "acc_seg"}

    def breakdown() -> list[tuple[str, float]]:
        jt.profiler.start(0, 0)
        work()
        jt.profiler.stop()
        rows = profile_summary(jt.profiler.report())["costliest"]
        return [(f"{row['count']} x {row['name']}", row["milliseconds"]) for row in rows]

    serve(job, work, parity, held, breakdown)
    os._exit(0)  # Jittor may crash while it is unloaded, although everything went well


if __name__ == "__main__":
    main()
