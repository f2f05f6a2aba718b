"""What decides names and shapes of a model's parameters, as plain data: in metadata, in comparisons, in
messages."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple


class Difference(NamedTuple):
    """A config key that must change: its name, the value to set, and the value now."""

    key: str
    wanted: Any
    now: Any


@dataclass(frozen=True)
class Architecture:
    """Base of the frozen dataclasses that `Segmentor.architecture` returns.

    A field may name the config key that sets it: `field(metadata={"key": "model.backbone.num_prompts"})`,
    else it is called `model.NAME`. A field with `"unknown": True` in its metadata is None where nothing says
    it, and is not compared then.
    """

    type: ClassVar[str] = ""
    """`model.type` of the models it describes."""

    def metadata(self) -> dict[str, Any]:
        """The fields as JSON values, and `type`."""
        return {"type": self.type, **json.loads(json.dumps(dataclasses.asdict(self)))}

    def differences(self, saved: Mapping[str, Any]) -> list[Difference]:
        """Which config keys must change so that this model becomes the one of `saved`, the `metadata` of
        another.

        Fields that `saved` does not have, as an older file, are not compared.
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
    """Differences as one line: what to set, and what is set here."""
    return ", ".join(f"{key}={wanted!r} (here {now!r})" for key, wanted, now in differences)
