"""Reads files of PyTorch: `torch.save` archives, TorchScript archives (OpenAI's CLIP), and the format before
zip.

Archive: a zip of uncompressed entries in one folder. `data.pkl` describes the objects, `data/<key>` contains
the bytes of each storage, and `byteorder` is 'little'. TorchScript adds `constants.pkl` and `code/`. Old
format: four pickles (magic number, version, system, objects), a pickled list of storage keys, then for each
storage its element count (8 bytes) and its bytes.
"""

from typing import Any

import numpy as np

from jseg.checkpoints.formats.flatten import tensor_map_from_object
from jseg.checkpoints.formats.pickle_machine import PickleMachine, PickleProblem
from jseg.checkpoints.formats.pickle_values import PlainVocabulary
from jseg.checkpoints.formats.tensor_map import TensorMap, file_error, map_file
from jseg.checkpoints.formats.torch_values import (
    ScriptVocabulary,
    Storage,
    StorageType,
    TorchVocabulary,
    item_size,
)
from jseg.checkpoints.formats.zip_archive import ZipArchive
from jseg.files import PathLike

LEGACY_HEAD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""The pickled magic number 0x1950a86a20f9469cfc6c at the start of the old format."""

_LEGACY_VERSION = 1001
_OBJECTS = "data.pkl"


class _ArchiveStorages:
    """Finds storages in `<folder>/data/` of an archive."""

    def __init__(self, archive: ZipArchive, folder: str) -> None:
        self._archive = archive
        self._folder = folder
        self._open: dict[str, Storage] = {}

    def __call__(self, key: str, dtype: StorageType, count: int) -> Storage:
        name = f"{self._folder}/data/{key}"
        if name not in self._archive:
            raise PickleProblem(f"storage {ascii(name)[:100]} is missing from the archive")
        expected = count * item_size(dtype)
        if self._archive.size(name) != expected:
            raise PickleProblem(
                f"storage {ascii(name)[:100]} has {self._archive.size(name)} bytes, but {count} elements "
                f"of {dtype} need {expected}"
            )
        if key not in self._open:
            self._open[key] = Storage(dtype, count, lambda: self._archive.read(name))
        elif self._open[key].dtype != dtype:
            raise PickleProblem(
                f"storage {ascii(name)[:100]} is used as {self._open[key].dtype} and as {dtype}"
            )
        return self._open[key]


def read_torch_archive(archive: ZipArchive) -> TensorMap:
    """Reads the tensors of a zip archive written by `torch.save` or `torch.jit.save`.

    Raises:
        ValueError: if it is damaged, not such an archive, or refers to classes that no weight file needs.
    """
    path = archive.path
    folders = [name[: -len(_OBJECTS) - 1] for name in archive.names() if name.endswith("/" + _OBJECTS)]
    folders = [folder for folder in folders if "/" not in folder]
    if len(folders) != 1:
        raise file_error(
            path,
            f"a zip archive with {len(folders)} data.pkl entries; files written by PyTorch have one "
            "(if this archive contains the weight file, unpack it first)",
        )
    folder = folders[0]
    if f"{folder}/byteorder" in archive and archive.read(f"{folder}/byteorder").tobytes() != b"little":
        raise file_error(
            path, "was written on a big-endian machine, which is not supported", f"{folder}/byteorder"
        )
    storages = _ArchiveStorages(archive, folder)
    is_script = f"{folder}/constants.pkl" in archive
    vocabulary = ScriptVocabulary(storages) if is_script else TorchVocabulary(storages)
    entry = f"{folder}/{_OBJECTS}"
    root = PickleMachine(path, entry, archive.read(entry), vocabulary, archive.file_size).run()
    return tensor_map_from_object(
        path, root, "TorchScript archive" if is_script else "torch.save archive", archive.file_size
    )


class _LegacyStorages:
    """Storages referenced by the object pickle. Their bytes follow later in the file and are found by
    `locate`."""

    def __init__(self, path: PathLike, data: np.ndarray) -> None:
        self._path = path
        self._data = data
        self._open: dict[str, Storage] = {}
        self._spans: dict[str, tuple[int, int]] = {}

    def __call__(self, key: str, dtype: StorageType, count: int) -> Storage:
        if key not in self._open:
            if count * item_size(dtype) > self._data.size:
                raise PickleProblem(f"storage {ascii(key)[:100]} of {count} elements is larger than the file")
            self._open[key] = Storage(dtype, count, lambda: self._bytes(key))
        storage = self._open[key]
        if storage.dtype != dtype or storage.count != count:
            raise PickleProblem(f"storage {ascii(key)[:100]} is described twice in different ways")
        return storage

    def _bytes(self, key: str) -> np.ndarray:
        begin, end = self._spans[key]
        return self._data[begin:end]

    def locate(self, keys: list[Any], position: int) -> None:
        """Reads the element counts that precede the bytes of each storage, in the order of `keys`."""
        for key in keys:
            storage = self._open.get(str(key)) if isinstance(key, (str, int)) else None
            if storage is None or str(key) in self._spans:
                raise file_error(
                    self._path, "is listed as a storage but no tensor describes it, or twice", str(key)[:100]
                )
            begin = position + 8
            end = begin + storage.count * item_size(storage.dtype)
            if end > self._data.size:
                raise file_error(
                    self._path, "its bytes do not fit in the file; it is truncated", f"storage {key}"
                )
            if int.from_bytes(self._data[position:begin].tobytes(), "little") != storage.count:
                raise file_error(
                    self._path, "its two element counts differ; the file is damaged", f"storage {key}"
                )
            self._spans[str(key)] = (begin, end)
            position = end
        missing = [key for key in self._open if key not in self._spans]
        if missing:
            raise file_error(
                self._path, "has no bytes in the file; it is truncated or damaged", f"storage {missing[0]}"
            )
        if position != self._data.size:
            raise file_error(
                self._path,
                f"{self._data.size - position} bytes after the last storage are not used; "
                "the file is damaged",
            )


def read_torch_legacy(path: PathLike) -> TensorMap:
    """Opens a file written by `torch.save` before PyTorch 1.6 (or with
    `_use_new_zipfile_serialization=False`).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or refers to classes that no weight file needs.
    """
    data = map_file(path)
    machine = PickleMachine(path, "version", data, PlainVocabulary(), data.size, len(LEGACY_HEAD))
    version = machine.run()
    if version != _LEGACY_VERSION:
        raise file_error(
            path, f"torch.save format version {ascii(version)[:20]} is not supported ({_LEGACY_VERSION} is)"
        )
    machine = PickleMachine(path, "system", data, PlainVocabulary(), data.size, machine.position)
    system = machine.run()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise file_error(path, "was not written on a little-endian machine, or is damaged", "system")
    storages = _LegacyStorages(path, data)
    machine = PickleMachine(path, "objects", data, TorchVocabulary(storages), data.size, machine.position)
    root = machine.run()
    machine = PickleMachine(path, "storage keys", data, PlainVocabulary(), data.size, machine.position)
    keys = machine.run()
    if not isinstance(keys, list):
        raise file_error(path, "is not a list; the file is damaged", "storage keys")
    storages.locate(keys, machine.position)
    return tensor_map_from_object(path, root, "torch.save, format before 1.6", data.size)
