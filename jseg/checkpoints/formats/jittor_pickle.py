"""Reads weight files of `jittor.save`: a pickle of NumPy arrays, since 2021 followed by its SHA-1 and a magic
word."""

import hashlib
import hmac

from jseg.checkpoints.formats.flatten import tensor_map_from_object
from jseg.checkpoints.formats.pickle_machine import PickleMachine
from jseg.checkpoints.formats.pickle_values import PlainVocabulary
from jseg.checkpoints.formats.tensor_map import TensorMap, file_error, map_file
from jseg.files import PathLike

TRAILER = b"HCAJSLHD"
_DIGEST_BYTES = 20


def read_jittor_pickle(path: PathLike) -> TensorMap:
    """Opens a Jittor (or plain NumPy) pickle. Arrays are views of the mapped file.

    A file with a checksum is read once to verify it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or refers to classes that no weight file needs.
    """
    data = map_file(path)
    if data[-len(TRAILER) :].tobytes() == TRAILER:
        content = data[: max(0, data.size - len(TRAILER) - _DIGEST_BYTES)]
        stored = data[content.size : content.size + _DIGEST_BYTES].tobytes()
        if not hmac.compare_digest(hashlib.sha1(content.data).digest(), stored):
            raise file_error(
                path, "its checksum (SHA-1) does not match; the file is damaged, download it again"
            )
        data = content
    machine = PickleMachine(path, "pickle", data, PlainVocabulary(), data.size)
    root = machine.run()
    if machine.position != data.size:
        raise file_error(path, f"{data.size - machine.position} bytes follow the pickle; the file is damaged")
    return tensor_map_from_object(path, root, "Jittor pickle", data.size)
