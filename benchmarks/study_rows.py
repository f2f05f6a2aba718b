"""The rows of the studies of `benchmarks/study.py`."""

from typing import NamedTuple


class Row(NamedTuple):
    """A row of a table.

    table: its heading. label: what is compared. config: below `configs/`. overrides: KEY=VALUE. paper: config
    whose header has the numbers of the paper for this row. starts_from: label of the row at whose half a run
    starts.
    """

    table: str
    label: str
    config: str
    overrides: tuple[str, ...] = ()
    paper: str | None = None
    starts_from: str | None = None


class Claim(NamedTuple):
    """Labels of two rows of which the paper finds the first better, and where it says so."""

    better: str
    worse: str
    source: str


_VOC = "clip_rc/voc2012_inductive.py"
_NO_BRIDGE = ("model.backbone.num_regions=0", "model.decode_head.ram_inputs=()")
_NO_RAM = "model.decode_head.ram_inputs=()"
_NO_RDL = "model.decode_head.recovery=None"


def _parts(config: str) -> list[Row]:
    """Table 5."""
    table = "Table 5: RLB, RAM, RDL"
    return [
        Row(table, "none", config, (*_NO_BRIDGE, _NO_RDL), "clip_rc/ablations/table5_none.py"),
        Row(table, "RLB", config, (_NO_RAM, _NO_RDL), "clip_rc/ablations/table5_rlb.py"),
        Row(table, "RLB, RAM", config, (_NO_RDL,), "clip_rc/ablations/table5_rlb_ram.py"),
        Row(table, "RLB, RAM, RDL", config, (), _VOC),
    ]


def _settings(name: str) -> list[Row]:
    """Tables 1 to 3."""
    table = "Settings"
    return [
        Row(
            table,
            "ZegCLIP, inductive",
            f"zegclip/zegclip_{name}_inductive.py",
            (),
            "zegclip/zegclip_voc2012_inductive.py",
        ),
        Row(table, "inductive", f"clip_rc/{name}_inductive.py", (), _VOC),
        Row(
            table,
            "transductive",
            f"clip_rc/{name}_transductive.py",
            (),
            "clip_rc/voc2012_transductive.py",
            "inductive",
        ),
        Row(table, "full", f"clip_rc/{name}_full.py", (), "clip_rc/voc2012_full.py"),
    ]


def _regions(config: str, default: int, sides: tuple[int, ...]) -> list[Row]:
    """Table 6, with the numbers of regions that fit the grid; those of the paper fit another one."""
    table = "Table 6: number of regions"
    rows = [
        Row(
            table,
            f"{side * side}, frozen",
            config,
            () if side * side == default else (f"model.backbone.num_regions={side * side}",),
        )
        for side in sides
    ]
    updated = Row(table, f"{default}, updated", config, ("model.backbone.train_regions=True",))
    return [*rows, updated]


def _fusion(config: str) -> list[Row]:
    """Table 7."""
    table = "Table 7: fused with the image"
    inputs = {"nothing": "()", "[CLS]": "('global',)", "regions": "('region',)"}
    files = {"nothing": "none", "[CLS]": "cls", "regions": "rlb"}
    rows = [
        Row(
            table,
            label,
            config,
            (f"model.decode_head.ram_inputs={value}",),
            f"clip_rc/ablations/table7_{files[label]}.py",
        )
        for label, value in inputs.items()
    ]
    return [*rows, Row(table, "[CLS], regions", config, (), _VOC)]


def _recovery(config: str) -> list[Row]:
    """Table 8."""
    table, key = "Table 8: recovery decoder", "model.decode_head.recovery"
    kinds = [("L2, 1 layer", f"{key}.loss=l2", "l2"), ("KD, 1 layer", f"{key}.loss=kd", "kd")]
    layers = [(f"L1, {n} layers", f"{key}.num_layers={n}", f"{n}_layers") for n in (0, 2, 3)]
    rows = [
        Row(table, label, config, (override,), f"clip_rc/ablations/table8_{file}.py")
        for label, override, file in (*kinds, *layers)
    ]
    return [*rows, Row(table, "L1, 1 layer", config, (), _VOC)]


_WORDS = "clip_rc/zerowords_inductive.py"

STUDIES: dict[str, tuple[Row, ...]] = {
    "zeroshapes": (*_settings("zeroshapes"), *_parts("clip_rc/zeroshapes_inductive.py")),
    "zerowords": (
        *_settings("zerowords"),
        *_parts(_WORDS),
        *_regions(_WORDS, 9, (1, 2, 3, 4, 6)),
        *_fusion(_WORDS),
        *_recovery(_WORDS),
    ),
}
"""Name -> rows, in the order in which they are trained."""

CLAIMS = (
    Claim("inductive", "ZegCLIP, inductive", "Table 1"),
    Claim("transductive", "inductive", "Table 1"),
    Claim("RLB, RAM, RDL", "none", "Table 5"),
    Claim("RLB", "none", "Table 5"),
    Claim("RLB, RAM", "RLB", "Table 5"),
    Claim("RLB, RAM, RDL", "RLB, RAM", "Table 5"),
    Claim("4, frozen", "1, frozen", "Table 6"),
    Claim("9, frozen", "4, frozen", "Table 6"),
    Claim("16, frozen", "9, frozen", "Table 6"),
    Claim("36, frozen", "16, frozen", "Table 6"),
    Claim("9, frozen", "9, updated", "Table 6"),
    Claim("[CLS]", "nothing", "Table 7"),
    Claim("regions", "nothing", "Table 7"),
    Claim("[CLS], regions", "[CLS]", "Table 7"),
    Claim("[CLS], regions", "regions", "Table 7"),
    Claim("L1, 1 layer", "L2, 1 layer", "Table 8"),
    Claim("L1, 1 layer", "KD, 1 layer", "Table 8"),
    Claim("L1, 1 layer", "L1, 0 layers", "Table 8"),
    Claim("L1, 1 layer", "L1, 2 layers", "Table 8"),
    Claim("L1, 1 layer", "L1, 3 layers", "Table 8"),
)
"""What the paper finds, for the rows that a study has."""
