"""Reads the part of the zip format that PyTorch and NumPy write, from a memory map.

Unlike the standard library's reader, which extracts entries, this one returns views of uncompressed entries
(`read`), which use no memory and cannot be zip bombs. Other entries are inflated only on request, and only to
the size that they declare (`inflate`). Nothing is ever written. Every size and offset is checked against the
file before use. Format: APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory),
4.3.14-16.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from jseg.checkpoints.formats.tensor_map import file_error, object_limit
from jseg.files import PathLike

LOCAL_SIGNATURE = b"PK\x03\x04"
_CENTRAL_SIGNATURE = b"PK\x01\x02"
_END_SIGNATURE = b"PK\x05\x06"
_ZIP64_END_SIGNATURE = b"PK\x06\x06"
_ZIP64_LOCATOR_SIGNATURE = b"PK\x06\x07"
_END_BYTES = 22
_MAX_COMMENT = 0xFFFF
_STORED = 0
_DEFLATED = 8
_ENCRYPTED_FLAG = 1
_ZIP64_EXTRA = 1

_OBJECTS_PER_ENTRY = 10
"""Cost of the index of one entry in the unit of `object_limit`."""


@dataclass
class _Entry:
    method: int
    flags: int
    crc: int
    compressed: int
    size: int
    header: int
    start: int = 0
    verified: bool = False


class ZipArchive:
    """Index of a zip file. `read` returns the bytes of an entry.

    Raises:
        ValueError: if the archive is damaged, an entry has an unsafe or duplicate name, or entries overlap.
    """

    def __init__(self, path: PathLike, data: np.ndarray) -> None:
        self.path = path
        self.file_size = int(data.size)
        self._data = data
        self._entries: dict[str, _Entry] = {}
        offset, size, count = self._end_record()
        self._read_directory(offset, size, count)
        self._locate_entries(directory=offset)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        return list(self._entries)

    def size(self, name: str) -> int:
        """Returns the number of bytes of entry `name` after decompression."""
        return self._entries[name].size

    def read(self, name: str) -> np.ndarray:
        """Returns the bytes of an entry as a uint8 view of the file. Its CRC-32 is checked the first time.

        Raises:
            ValueError: if there is no such entry, it is compressed or encrypted, or its checksum does not
                match.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise file_error(
                self.path, "the archive has no such entry; the file is damaged or incomplete", name
            )
        if entry.flags & _ENCRYPTED_FLAG:
            raise file_error(self.path, "is encrypted; save the file again without encryption", name)
        if entry.method != _STORED or entry.compressed != entry.size:
            raise file_error(
                self.path, "is compressed, unlike weights written by PyTorch; repack it with 'zip -0'", name
            )
        view = self._data[entry.start : entry.start + entry.size]
        self._verify(name, entry, view)
        return view

    def inflate(self, name: str, limit: int | None = None) -> np.ndarray:
        """Returns the bytes of a stored or deflated entry, or its first `limit` (without checking the
        checksum).

        The caller must have checked `size`, which is the memory used.

        Raises:
            ValueError: if there is no such entry, the compression is another one, or size or checksum do not
                match.
        """
        entry = self._entries.get(name)
        if entry is None or entry.method != _DEFLATED:
            return self.read(name)[:limit]
        if entry.flags & _ENCRYPTED_FLAG:
            raise file_error(self.path, "is encrypted; save the file again without encryption", name)
        wanted = entry.size if limit is None else min(limit, entry.size)
        source = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            # Request one byte more: if the stream continues, its declared size is wrong.
            content = source.decompress(
                self._data[entry.start : entry.start + entry.compressed].data, wanted + 1
            )
        except zlib.error:
            raise file_error(self.path, "its compressed data is damaged", name) from None
        if len(content) < wanted or (limit is None and (len(content) != wanted or not source.eof)):
            raise file_error(self.path, "does not inflate to its declared size; the file is damaged", name)
        result = np.frombuffer(content, np.uint8)[:wanted]
        if limit is None:
            self._verify(name, entry, result)
        return result

    def _verify(self, name: str, entry: _Entry, content: np.ndarray) -> None:
        if not entry.verified and zlib.crc32(content.data if content.size else b"") != entry.crc:
            raise file_error(self.path, "its checksum (CRC-32) does not match; the file is damaged", name)
        entry.verified = True

    def _bytes(self, offset: int, length: int, what: str) -> bytes:
        if offset < 0 or offset + length > self._data.size:
            raise file_error(
                self.path, f"the {what} of the zip archive is outside the file; it is truncated or damaged"
            )
        return self._data[offset : offset + length].tobytes()

    def _end_record(self) -> tuple[int, int, int]:
        """Returns offset, size in bytes and number of entries of the central directory."""
        tail_start = max(0, self._data.size - _END_BYTES - _MAX_COMMENT)
        tail = self._data[tail_start:].tobytes()
        found = tail.rfind(_END_SIGNATURE)
        if found < 0 or found + _END_BYTES > len(tail):
            raise file_error(
                self.path, "the zip archive has no end record; the file is truncated, download it again"
            )
        count, size, offset = struct.unpack("<10xHIIxx", tail[found : found + _END_BYTES])
        if count != 0xFFFF and size != 0xFFFFFFFF and offset != 0xFFFFFFFF:
            return self._checked_directory(offset, size, count)
        locator_offset = tail_start + found - 20
        locator = self._bytes(locator_offset, 20, "zip64 locator")
        if locator[:4] != _ZIP64_LOCATOR_SIGNATURE:
            return self._checked_directory(offset, size, count)
        record = self._bytes(struct.unpack("<8xQ4x", locator)[0], 56, "zip64 end record")
        if record[:4] != _ZIP64_END_SIGNATURE:
            raise file_error(self.path, "the zip64 end record is damaged")
        count, size, offset = struct.unpack("<32xQQQ", record)
        return self._checked_directory(offset, size, count)

    def _checked_directory(self, offset: int, size: int, count: int) -> tuple[int, int, int]:
        limit = object_limit(self._data.size) // _OBJECTS_PER_ENTRY
        if count > limit:
            raise file_error(
                self.path, f"the zip archive claims {count} entries, more than the limit of {limit}"
            )
        if offset + size > self._data.size or size < 46 * count:
            raise file_error(
                self.path, "the directory of the zip archive does not fit; it is truncated or damaged"
            )
        return offset, size, count

    def _read_directory(self, offset: int, size: int, count: int) -> None:
        end = offset + size
        for _ in range(count):
            record = self._bytes(offset, 46, "directory")
            if record[:4] != _CENTRAL_SIGNATURE:
                raise file_error(self.path, "the directory of the zip archive is damaged")
            flags, method, crc, compressed, full, name_length, extra_length, comment_length, header = (
                struct.unpack("<8xHH4xIIIHHH8xI", record)
            )
            text = self._bytes(offset + 46, name_length + extra_length, "directory")
            name = self._checked_name(text[:name_length])
            full, compressed, header = self._zip64_sizes(name, text[name_length:], full, compressed, header)
            self._entries[name] = _Entry(method, flags, crc, compressed, full, header)
            offset += 46 + name_length + extra_length + comment_length
            if offset > end:
                raise file_error(self.path, "the directory of the zip archive is longer than declared", name)

    def _checked_name(self, raw: bytes) -> str:
        name = raw.decode("utf-8", "backslashreplace")
        parts: set[str] = set(name.replace("\\", "/").split("/"))
        if ".." in parts or name.startswith(("/", "\\")) or ":" in name.split("/")[0] or "\0" in name:
            raise file_error(self.path, "points outside the archive (zip-slip); do not trust this file", name)
        if name in self._entries:
            raise file_error(self.path, "occurs twice in the zip archive; do not trust this file", name)
        return name

    def _zip64_sizes(
        self, name: str, extra: bytes, full: int, compressed: int, header: int
    ) -> tuple[int, int, int]:
        """Returns sizes and offset, from the zip64 extra field where the 32-bit field is saturated."""
        values = [full, compressed, header]
        saturated = [index for index, value in enumerate(values) if value == 0xFFFFFFFF]
        position = 0
        while saturated and position + 4 <= len(extra):
            kind, length = struct.unpack_from("<HH", extra, position)
            body = extra[position + 4 : position + 4 + length]
            if kind == _ZIP64_EXTRA:
                if len(body) < 8 * len(saturated):
                    raise file_error(self.path, "its zip64 field is damaged", name)
                for place, index in enumerate(saturated):
                    values[index] = struct.unpack_from("<Q", body, 8 * place)[0]
                break
            position += 4 + length
        return values[0], values[1], values[2]

    def _locate_entries(self, directory: int) -> None:
        """Finds the data of each entry after its local header, and refuses overlaps."""
        spans: list[tuple[int, int, str]] = []
        for name, entry in self._entries.items():
            if entry.header + 30 > directory:
                raise file_error(self.path, "its local header is outside the data; the file is damaged", name)
            header = self._bytes(entry.header, 30, "local header")
            if header[:4] != LOCAL_SIGNATURE:
                raise file_error(
                    self.path,
                    "has no local header where the directory says; the file is damaged",
                    name,
                )
            name_length, extra_length = struct.unpack("<26xHH", header)
            entry.start = entry.header + 30 + name_length + extra_length
            stored_name = self._bytes(entry.header + 30, name_length, "local header").decode(
                "utf-8", "backslashreplace"
            )
            if stored_name != name:
                raise file_error(
                    self.path, "has a different name in its local header; the file is damaged", name
                )
            if entry.start + entry.compressed > directory:
                raise file_error(
                    self.path, "its data does not fit in the file; it is truncated or damaged", name
                )
            spans.append((entry.header, entry.start + entry.compressed, name))
        position = 0
        for start, stop, name in sorted(spans):
            if start < position:
                raise file_error(
                    self.path, "overlaps another entry of the zip archive; the file is damaged", name
                )
            position = stop
