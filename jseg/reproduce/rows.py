"""The rows of Tables 1 to 8 of the paper that have a config, and their configs in configs/."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jseg.config.headers import header_fields, paper_numbers
from jseg.files import shipped_folder
from jseg.names import did_you_mean

_DATA = {"voc2012": "voc2012", "context": "context", "coco-stuff": "coco_stuff"}


def _both_methods(setting: str) -> dict[str, str]:
    """Returns the rows of CLIP-RC and ZegCLIP for one setting."""
    own = {name: f"clip_rc/{data}_{setting}" for name, data in _DATA.items()}
    zegclip = {f"zegclip-{name}": f"zegclip/zegclip_{data}_{setting}" for name, data in _DATA.items()}
    return own | zegclip


_WHOLE = "clip_rc/voc2012_inductive"
_ABLATIONS = "clip_rc/ablations"

TABLES: Mapping[str, Mapping[str, str]] = {
    "table1": _both_methods("inductive"),
    "table2": _both_methods("transductive"),
    "table3": _both_methods("full"),
    "table4": {
        f"{prefix}context{classes}": f"{folder}_coco_stuff_to_context{classes}".replace("/_", "/")
        for prefix, folder in (("", "clip_rc/"), ("zegclip-", "zegclip/zegclip"))
        for classes in (60, 59)
    },
    "table5": {
        "none": f"{_ABLATIONS}/table5_none",
        "rlb": f"{_ABLATIONS}/table5_rlb",
        "rlb-ram": f"{_ABLATIONS}/table5_rlb_ram",
        "rlb-ram-rdl": _WHOLE,
    },
    "table6": {
        "16-updated": f"{_ABLATIONS}/table6_16_updated",
        "1": f"{_ABLATIONS}/table6_1",
        "4": f"{_ABLATIONS}/table6_4",
        "16": _WHOLE,
        "64": f"{_ABLATIONS}/table6_64",
        "256": f"{_ABLATIONS}/table6_256",
        "1024": f"{_ABLATIONS}/table6_1024",
    },
    "table7": {
        "none": f"{_ABLATIONS}/table7_none",
        "cls": f"{_ABLATIONS}/table7_cls",
        "rlb": f"{_ABLATIONS}/table7_rlb",
        "cls-rlb": _WHOLE,
    },
    "table8": {
        "l1-1": _WHOLE,
        "l2-1": f"{_ABLATIONS}/table8_l2",
        "kd-1": f"{_ABLATIONS}/table8_kd",
        "l1-0": f"{_ABLATIONS}/table8_0_layers",
        "l1-2": f"{_ABLATIONS}/table8_2_layers",
        "l1-3": f"{_ABLATIONS}/table8_3_layers",
    },
}
"""Table -> row -> config. Rows of Table 8 are named by the recovery loss and the number of layers."""


class Row(NamedTuple):
    """A row of a table.

    `paper` maps metrics to percent. It is empty if the paper has no result (out of memory).
    """

    table: str
    name: str
    config: Path
    paper: dict[str, float]

    @property
    def metric(self) -> str:
        """The decisive metric: hIoU, or mIoU if all classes are seen."""
        return "hIoU" if "hIoU" in self.paper else "mIoU"


def rows(table: str) -> list[Row]:
    """Returns all rows of a table.

    Raises:
        ValueError: if there is no such table.
    """
    if table not in TABLES:
        raise ValueError(f"there is no {table!r}{did_you_mean(table, TABLES)}")
    return [find_row(table, name) for name in TABLES[table]]


def find_row(table: str, name: str) -> Row:
    """Returns one row.

    Raises:
        ValueError: if there is no such table or row. FileNotFoundError: if there are no configs.
    """
    if table not in TABLES:
        raise ValueError(f"there is no {table!r}{did_you_mean(table, TABLES)}")
    wanted = name.lower().replace("_", "-")
    if wanted not in TABLES[table]:
        raise ValueError(f"{table} has no row {name!r}; its rows: {', '.join(TABLES[table])}")
    config = shipped_folder("configs") / f"{TABLES[table][wanted]}.py"
    return Row(table, wanted, config, paper_numbers(header_fields(config)))
