"""Model architectures as plain data: everything that determines names and shapes of the parameters. Used in
metadata, comparisons and messages."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple


class Difference(NamedTuple):
    """A config key that must change: its name, the required value, and the current value."""

    key: str
    wanted: Any
    now: Any


@dataclass(frozen=True)
class Architecture:
    """Base of the frozen dataclasses returned by `Segmentor.architecture`.

    A field may give the config key that sets it: `field(metadata={"key": "model.backbone.num_prompts"})`. By
    default, the key is `model.NAME`. A field with `"unknown": True` in its metadata is None if its value is
    unknown, and is then not compared.
    """

    type: ClassVar[str] = ""
    """`model.type` of the models described by this class."""

    def metadata(self) -> dict[str, Any]:
        """Returns the fields and `type` as JSON values."""
        return {"type": self.type, **json.loads(json.dumps(dataclasses.asdict(self)))}

    def differences(self, saved: Mapping[str, Any]) -> list[Difference]:
        """Lists the config keys that must change to turn this model into that of `saved`, another's
        `metadata`.

        Fields that `saved` lacks, for example in an older file, are not compared.
        """
        own = self.metadata()
        if saved.get("type", self.type) != self.type:
            return [Difference("model.type", saved["type"], self.type)]
        found = []
        for field in dataclasses.fields(self):
            wanted, now = saved.get(field.name), own[field.name]
            unknown = field.metadata.get("unknown", False) and None in (wanted, now)
            if field.name in saved and wanted != now and not unknown:
                key = field.metadata.get("key", f"model.{field.name}")
                found.append(Difference(key, wanted, now))
        return found


def listed(differences: list[Difference]) -> str:
    """Formats differences on one line: the required and the current value of each key."""
    return ", ".join(f"{key}={wanted!r} (here {now!r})" for key, wanted, now in differences)
