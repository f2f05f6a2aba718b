"""A pickle interpreter that builds only plain values and objects of an allow-list.

Python's own unpickler runs anything that a file names. Even with a restricted `find_class`, a file of a few
bytes can make its C code allocate gigabytes or overflow the C stack. This interpreter implements the opcodes
of binary pickles (protocols 2 to 5, https://docs.python.org/3/library/pickletools.html), never imports or
calls anything by name, and bounds the work. Large byte strings are not copied: they become views of the
mapped file.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jseg.checkpoints.formats.tensor_map import file_error, object_limit
from jseg.files import PathLike

MAX_OPERATIONS = 2_000_000
"""Bounds the time for a huge file. A ViT-L/14 with optimizer state needs about 100,000 steps."""

_SET_OPERATIONS = 4
"""An empty set uses four times the memory of an empty list."""

MAX_TEXT_BYTES = 4 * 2**20
MAX_INTEGER_BYTES = 32
MAX_NAME_BYTES = 512


class PickleProblem(ValueError):
    """A problem in a pickle. The interpreter adds file and entry."""


@dataclass(frozen=True)
class Constructor:
    """A global that a pickle may name. `call` builds a value from the arguments. Without it, the global is a
    marker."""

    label: str
    call: Callable[["PickleMachine", tuple[Any, ...]], Any] | None = None
    payload: Any = None


class Vocabulary(Protocol):
    """The globals and ids that a pickle may refer to. Both methods raise `PickleProblem` to refuse one."""

    def find(self, module: str, name: str) -> Constructor:
        """Returns the constructor for a global."""

    def persistent(self, reference: Any) -> Any:
        """Returns the object for a persistent id."""


class Buildable:
    """A value that accepts a state after construction (the BUILD opcode)."""

    def build(self, machine: "PickleMachine", state: Any) -> None:
        raise NotImplementedError


def refuse_global(module: str, name: str) -> PickleProblem:
    return PickleProblem(
        f"refused to construct {ascii(module)[:100]} {ascii(name)[:100]}: it is not among the tensor "
        "and container types that a weight file needs; save plain tensors (a state dict) instead"
    )


def check_key(key: Any) -> Any:
    """Refuses dictionary keys and set members other than plain scalars. Hashing a deeply nested tuple can
    overflow the C stack."""
    if key is None or isinstance(key, (str, int, float)):
        return key
    if isinstance(key, tuple) and all(part is None or isinstance(part, (str, int, float)) for part in key):
        return key
    raise PickleProblem(f"a {type(key).__name__} cannot be a dictionary key here")


class PickleMachine:
    """Runs the pickle at `position` in `data` (uint8). `entry` is its name in messages. The amount of work
    allowed grows with `file_size`, the size of the whole weight file in bytes."""

    def __init__(
        self,
        path: PathLike,
        entry: str,
        data: np.ndarray,
        vocabulary: Vocabulary,
        file_size: int,
        position: int = 0,
    ) -> None:
        self.path = path
        self.entry = entry
        self.position = position
        self.vocabulary = vocabulary
        self._data = data
        self._memory = data.data
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._operations = 0
        self._limit = min(MAX_OPERATIONS, object_limit(file_size))
        self._copied = 0

    def run(self) -> Any:
        """Returns the value of the pickle. Afterwards, `position` is the end of the pickle.

        Raises:
            ValueError: if it is damaged, too large, or refers to something that is not allowed.
        """
        try:
            return self._run()
        except PickleProblem as refusal:
            raise file_error(self.path, str(refusal), self.entry) from None
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
            RecursionError,
            struct.error,
        ) as error:
            problem = f"the pickle is damaged near byte {self.position} ({type(error).__name__})"
            raise file_error(self.path, problem, self.entry) from None

    def charge(self, operations: int = 0, copied_bytes: int = 0) -> None:
        """Counts work that is not proportional to the size of the pickle (copies of memoised values)."""
        self._operations += operations
        self._copied += copied_bytes
        if self._operations > self._limit:
            raise PickleProblem(
                f"the pickle takes more than {self._limit} steps, too many for the file's size; refused"
            )
        if self._copied > self._data.size:
            raise PickleProblem("the pickle copies more bytes than it contains; refused")

    def _run(self) -> Any:
        while True:
            opcode = self._unsigned(1)
            if opcode == _STOP:
                if self._marked or len(self._stack) != 1:
                    raise PickleProblem("the pickle is damaged (it does not end with one value)")
                return self._stack.pop()
            operation = _OPERATIONS.get(opcode)
            if operation is None:
                raise PickleProblem(
                    f"opcode {opcode:#04x} at byte {self.position - 1} is not part of a binary pickle of "
                    "weights; the file is damaged or not to be trusted"
                )
            self.charge(operations=1)
            operation(self)

    def _take(self, length: int) -> memoryview:
        if length > self._data.size - self.position:
            raise PickleProblem("the pickle is truncated")
        self.position += length
        return self._memory[self.position - length : self.position]

    def _unsigned(self, length: int) -> int:
        return int.from_bytes(self._take(length), "little")

    def _line(self) -> str:
        window = self._memory[self.position : self.position + MAX_NAME_BYTES].tobytes()
        end = window.find(b"\n")
        if end < 0:
            raise PickleProblem("a global has no name of reasonable length; the pickle is damaged")
        self.position += end + 1
        return window[:end].decode("utf-8")

    def _pop_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marked.pop()
        return items

    def _push_text(self, length: int, encoding: str) -> None:
        if length > MAX_TEXT_BYTES:
            raise PickleProblem(f"a text of {length} bytes is above the limit of {MAX_TEXT_BYTES}")
        self._stack.append(
            str(self._take(length), encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        )

    def _protocol(self) -> None:
        protocol = self._unsigned(1)
        if not 2 <= protocol <= 5:
            raise PickleProblem(f"pickle protocol {protocol} is not supported (2 to 5 are)")

    def _mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _long(self, length: int) -> None:
        if length > MAX_INTEGER_BYTES:
            raise PickleProblem(f"an integer of {length} bytes is above the limit of {MAX_INTEGER_BYTES}")
        self._stack.append(int.from_bytes(self._take(length), "little", signed=True))

    def _tuple(self, length: int) -> None:
        if len(self._stack) < length:
            raise PickleProblem("the pickle is damaged (too few values for a tuple)")
        items = tuple(self._stack[len(self._stack) - length :])
        self._stack[len(self._stack) - length :] = [items]

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise PickleProblem("the pickle is damaged (items for something that is not a dictionary)")
        for key, value in zip(items[0::2], items[1::2]):
            target[check_key(key)] = value

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _append(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise PickleProblem("the pickle is damaged (items for something that is not a list)")
        self._stack[-1].extend(items)

    def _empty_set(self) -> None:
        self.charge(operations=_SET_OPERATIONS)
        self._stack.append(set())

    def _add_items(self) -> None:
        items = self._pop_mark()
        if not isinstance(self._stack[-1], set):
            raise PickleProblem("the pickle is damaged (items for something that is not a set)")
        self._stack[-1].update(check_key(item) for item in items)

    def _global(self) -> None:
        module, name = self._line(), self._line()
        self._stack.append(self.vocabulary.find(module, name))

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise PickleProblem("the pickle is damaged (a global whose name is not text)")
        self._stack.append(self.vocabulary.find(module, name))

    def _construct(self) -> None:
        arguments, constructor = self._stack.pop(), self._stack.pop()
        if not isinstance(constructor, Constructor) or not isinstance(arguments, tuple):
            raise PickleProblem("the pickle is damaged (it calls something that is not a constructor)")
        if constructor.call is None:
            raise PickleProblem(
                f"refused to call {constructor.label}: only its name is allowed in a weight file"
            )
        self._stack.append(constructor.call(self, arguments))

    def _construct_with_keywords(self) -> None:
        if self._stack.pop() != {}:
            raise PickleProblem("refused to construct an object with keyword arguments")
        self._construct()

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Buildable):
            target.build(self, state)
        elif not isinstance(target, dict):
            # Additional attributes of a dictionary (the version numbers of a PyTorch state dict) contain no
            # weights.
            raise PickleProblem(f"refused to set the state of a {type(target).__name__}")

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise PickleProblem(f"the pickle is damaged (value {index} is used before it is stored)")
        self._stack.append(self._memo[index])


_STOP = ord(".")
_Operation = Callable[[PickleMachine], Any]
_Counted = Callable[[PickleMachine, int], Any]


def _operations() -> dict[int, _Operation]:
    """Opcode -> action, without text opcodes of protocols 0 and 1, extension codes and out-of-band
    buffers."""
    table: dict[int, _Operation] = {
        0x80: PickleMachine._protocol,
        ord("("): PickleMachine._mark,
        ord("s"): PickleMachine._set_item,
        ord("c"): PickleMachine._global,
        0x93: PickleMachine._stack_global,
        ord("R"): PickleMachine._construct,
        0x81: PickleMachine._construct,
        0x92: PickleMachine._construct_with_keywords,
        ord("b"): PickleMachine._build,
        0x90: PickleMachine._add_items,
        ord("N"): lambda m: m._stack.append(None),
        0x88: lambda m: m._stack.append(True),
        0x89: lambda m: m._stack.append(False),
        ord(")"): lambda m: m._stack.append(()),
        ord("}"): lambda m: m._stack.append({}),
        ord("]"): lambda m: m._stack.append([]),
        0x8F: PickleMachine._empty_set,
        0x85: lambda m: m._tuple(1),
        0x86: lambda m: m._tuple(2),
        0x87: lambda m: m._tuple(3),
        ord("0"): lambda m: m._stack.pop(),
        ord("1"): lambda m: m._pop_mark(),
        ord("2"): lambda m: m._stack.append(m._stack[-1]),
        ord("u"): lambda m: m._set_items(m._pop_mark()),
        ord("a"): lambda m: m._append([m._stack.pop()]),
        ord("e"): lambda m: m._append(m._pop_mark()),
        ord("t"): lambda m: _push_marked(m, tuple),
        0x91: lambda m: _push_marked(m, lambda items: frozenset(check_key(item) for item in items)),
        ord("Q"): lambda m: m._stack.append(m.vocabulary.persistent(m._stack.pop())),
        ord("G"): lambda m: m._stack.append(struct.unpack(">d", m._take(8))[0]),
        ord("J"): lambda m: m._stack.append(int.from_bytes(m._take(4), "little", signed=True)),
        0x94: lambda m: m._put(len(m._memo)),
        0x95: lambda m: m._take(8),  # FRAME: a buffering hint without content
    }
    # Opcodes that are followed by a number, with its size in bytes.
    counted: tuple[tuple[_Counted, dict[int, int]], ...] = (
        (lambda m, number: m._stack.append(number), {ord("K"): 1, ord("M"): 2}),
        (PickleMachine._long, {0x8A: 1, 0x8B: 4}),
        (lambda m, length: m._push_text(length, "utf-8"), {0x8C: 1, ord("X"): 4, 0x8D: 8}),
        (lambda m, length: m._push_text(length, "latin-1"), {ord("U"): 1, ord("T"): 4}),  # Python 2 strings
        (lambda m, length: m._stack.append(m._take(length)), {ord("C"): 1, ord("B"): 4, 0x8E: 8, 0x96: 8}),
        (PickleMachine._put, {ord("q"): 1, ord("r"): 4}),
        (PickleMachine._get, {ord("h"): 1, ord("j"): 4}),
    )
    for action, opcodes in counted:
        table.update({opcode: _with_number(action, size) for opcode, size in opcodes.items()})
    return table


def _with_number(action: _Counted, size: int) -> _Operation:
    """Returns `action` applied to the number in the next `size` bytes."""
    return lambda machine: action(machine, machine._unsigned(size))


def _push_marked(machine: PickleMachine, build: Callable[[list[Any]], Any]) -> None:
    items = machine._pop_mark()
    machine._stack.append(build(items))


_OPERATIONS: dict[int, _Operation] = _operations()
