"""ZegCLIP under the names of its release: recognised, evaluated directly, converted in both directions."""

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoint_writers import tensor, torch_archive_bytes

from jseg import parity
from jseg.checkpoints import EncoderSizes, clip_rc_from_release, load_model_state, read_tensors
from jseg.cli.convert_checkpoint import main as convert_checkpoint
from jseg.models.segmentors import CLIPRC, ZegCLIP
from jseg.models.weights import apply_weights, read_weights
from jseg.runtime.backend import jt

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "zegclip_tiny"
CASE = json.loads((FOLDER / "case.json").read_text())
BUFFER = "decode_head.loss_decode.criterion.empty_weight"


def load(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def weights():
    return load("weights")


@pytest.fixture(scope="module")
def release(weights, tmp_path_factory):
    """The weights as the release saves them."""
    path = tmp_path_factory.mktemp("zegclip") / "zegclip.pth"
    root = {"meta": {"iter": 20000}, "state_dict": {name: tensor(value) for name, value in weights.items()}}
    path.write_bytes(torch_archive_bytes(root))
    return path


def test_what_the_file_tells(release):
    state, told = load_model_state(release)
    assert told.type == "ZegCLIP" and told.encoder == EncoderSizes(3, 64, 8, 32)
    assert (told.num_prompts, told.decoder_layers, told.recovery_layers) == (3, 3, None)
    assert sorted(state) == sorted(told.parameter_names()) and BUFFER not in state
    ignored = set(read_tensors(release)) - set(state)
    assert ignored == {name for name in CASE["without_gradient"] if name not in state} | {BUFFER}


def test_the_release_is_evaluated_directly(release):
    inputs, recorded = load("inputs"), load("outputs")
    model = parity.build_segmentor(CASE, load("weights"), inputs, recorded, "inductive")
    apply_weights(model, read_weights(release), release)
    scores = model.predict(jt.array(inputs["image"])).numpy()
    wanted = recorded["eval.prob_seen_minus_0.1"]
    assert np.abs(scores - wanted).max() <= 2e-5 * np.abs(wanted).max()
    assert set(model.state_arrays()) == set(load_model_state(release)[0])


def test_there_and_back(release, weights, tmp_path):
    own, back = tmp_path / "own.safetensors", tmp_path / "back.pth"
    assert convert_checkpoint([str(release), str(own)]) == 0
    assert convert_checkpoint([str(own), str(back)]) == 0
    written = read_tensors(back)
    assert set(written) == set(weights)
    assert all(written[name].shape == weights[name].shape for name in written)
    state, _ = clip_rc_from_release(weights)
    for name, value in clip_rc_from_release(written)[0].items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)
    np.testing.assert_array_equal(written[BUFFER], weights[BUFFER])


def test_a_config_of_the_other_method_is_told(release):
    text = load("inputs")["text"]
    other = CLIPRC.from_sizes(EncoderSizes(3, 64, 8, 32), 4, text, (), image_size=64, setting="full")
    with pytest.raises(ValueError, match=r"zegclip\.pth.*model\.type='ZegCLIP' \(here 'CLIPRC'\)"):
        apply_weights(other, read_weights(release), release)


def test_options_of_the_head_are_checked():
    text = load("inputs")["text"]
    sizes = EncoderSizes(3, 64, 8, 32)
    for options, named in ((dict(num_heads=5), "num_heads"), (dict(num_layers=0), "num_layers")):
        with pytest.raises(ValueError, match=named):
            ZegCLIP.from_sizes(sizes, 4, text, (4,), decode_head=dict(type="ZegCLIPHead", **options))
    one = ZegCLIP.from_sizes(
        sizes, 4, text, (4,), decode_head=dict(type="ZegCLIPHead", num_layers=1, num_heads=4), image_size=64
    )
    assert set(one.trainable_parameters()) >= {"decode_head.decoder_1.layers.0.multihead_attn.q.weight"}
    assert np.isfinite(one.predict(jt.zeros((1, 3, 64, 64))).numpy()).all()
