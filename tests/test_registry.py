"""Names to constructors, and what is said about wrong ones."""

import re
from abc import abstractmethod
from dataclasses import dataclass
from importlib import import_module

import pytest

from jseg.names import did_you_mean
from jseg.registry import Registry


@pytest.fixture
def shapes() -> Registry:
    registry = Registry("shape")

    @registry.register()
    class Box:
        def __init__(self, width: float, height: float = 1.0, name: str | None = None) -> None:
            self.size = (width, height, name)

    @registry.register("Ball")
    def make_ball(radius: int, filled: bool = True) -> tuple:
        return (radius, filled)

    return registry


def test_builds_classes_and_functions_and_leaves_the_config_alone(shapes):
    cfg = {"type": "Box", "width": 2}
    assert shapes.build(cfg, height=3.0).size == (2, 3.0, None)
    assert shapes.build({"type": "Ball", "radius": 1}) == (1, True)
    assert cfg == {"type": "Box", "width": 2}


def test_offered_arguments_lose_against_the_config_and_are_dropped_where_unknown(shapes):
    box = shapes.build({"type": "Box", "width": 2.0}, offered={"width": 9.0, "name": "a", "colour": "red"})
    assert box.size == (2.0, 1.0, "a")


@pytest.mark.parametrize(
    "cfg, parts",
    [
        ({"type": "Bix", "width": 1.0}, ["model.shape.type", "'Bix'", "Box"]),
        ({"type": "Box", "widht": 1.0}, ["model.shape.widht", "width"]),
        ({"type": "Box"}, ["model.shape", "Box", "width"]),
        ({"width": 1.0}, ["model.shape", "Ball", "Box"]),
        ("Box", ["model.shape", "Ball", "Box"]),
        ({"type": "Ball", "radius": "four"}, ["model.shape.radius", "int", "'four'"]),
        ({"type": "Ball", "radius": True}, ["model.shape.radius", "int", "True"]),
        ({"type": "Box", "width": 1, "name": 3}, ["model.shape.name", "str", "None", "3"]),
    ],
)
def test_errors_name_the_key_and_the_nearest_name(shapes, cfg, parts):
    with pytest.raises(ValueError) as error:
        shapes.build(cfg, where="model.shape")
    for part in parts:
        assert re.search(rf"(?<!\w){re.escape(part)}(?!\w)", str(error.value)), (part, error.value)


def test_a_taken_name_is_refused(shapes):
    with pytest.raises(ValueError, match="shape.*Box"):
        shapes.register("Box")(dict)


def test_suggestion_lists_everything_when_nothing_is_near():
    assert re.findall("alpha|beta", did_you_mean("zzz", ["alpha", "beta"])) == ["alpha", "beta"]
    assert re.findall("alpha|beta", did_you_mean("ALPHa", ["alpha", "beta"])) == ["alpha"]


@dataclass(frozen=True)
class Edge:
    """Options of a part without a type of its own."""

    width: float = 1.0
    dashed: bool = False


@pytest.fixture
def framed() -> Registry:
    registry = Registry("frame")

    @registry.register("Frame", moved={"edge_width": "edge.width"})
    def make_frame(edge: Edge | None = None) -> tuple:
        return (edge,)

    return registry


def test_a_dict_becomes_the_dataclass_of_the_annotation(framed):
    assert framed.build({"type": "Frame", "edge": {"width": 2}}) == (Edge(2),)
    assert framed.build({"type": "Frame", "edge": None}) == (None,)


@pytest.mark.parametrize(
    "options, parts",
    [
        ({"edge": {"widht": 1}}, ["frame.edge.widht", "width"]),
        ({"edge": {"dashed": 3}}, ["frame.edge.dashed", "bool", "3"]),
        ({"edge": "thick"}, ["frame.edge", "Edge", "'thick'"]),
        ({"edge_width": 2.0}, ["frame.edge_width", "frame.edge.width"]),
    ],
)
def test_errors_inside_a_dataclass_and_of_moved_keys_name_the_whole_key(framed, options, parts):
    with pytest.raises(ValueError) as error:
        framed.check({"type": "Frame", **options})
    for part in parts:
        assert re.search(rf"(?<!\w){re.escape(part)}(?!\w)", str(error.value)), (part, error.value)


class Shape:
    """A contract: two methods and an attribute."""

    corners: int

    @abstractmethod
    def area(self, scale: float) -> float: ...

    @abstractmethod
    def name(self) -> str: ...


class Square(Shape):
    corners = 4

    def area(self, scale: float, unit: str = "m") -> float:
        return scale**2

    def name(self) -> str:
        return "square"


class Blob(Square):
    """Its constructor forgets the attribute."""

    def __init__(self) -> None:
        """Nothing."""

    def __getattribute__(self, name: str) -> object:
        if name == "corners":
            raise AttributeError(name)
        return super().__getattribute__(name)


def make_square() -> Square:
    return Square()


def make_anything():
    return Square()


@pytest.fixture
def contracted() -> Registry:
    return Registry("shape", Shape)


def test_a_contract_takes_derived_classes_and_functions_that_say_they_make_one(contracted):
    contracted.register("Square")(Square)
    contracted.register("made")(make_square)
    assert contracted.names() == ["Square", "made"]
    assert contracted.build({"type": "made"}).area(2.0) == 4.0


def half(**methods: object) -> type:
    return type("Half", (Shape,), {"name": Square.name, **methods})


@pytest.mark.parametrize(
    "entry, named",
    [
        (dict, "Shape"),
        (make_anything, "Shape"),
        (half(), "area"),
        (half(area=lambda self: 1.0), r"area\(self\)"),
        (half(area=lambda self, factor: 1.0), r"area\(self, factor\)"),
        (half(area=lambda self, scale, unit: 1.0), r"area\(self, scale, unit\)"),
    ],
)
def test_a_contract_refuses_what_does_not_fulfil_it(contracted, entry, named):
    with pytest.raises(ValueError, match=named):
        contracted.register("wrong")(entry)
    assert contracted.names() == []


def test_what_is_built_must_have_the_attributes_of_the_contract(contracted):
    contracted.register("Blob")(Blob)
    with pytest.raises(ValueError, match=r"Blob.*\bcorners\b"):
        contracted.build({"type": "Blob"})


@pytest.mark.parametrize(
    "module, registry, name",
    [
        ("jseg.models.segmentors", "MODELS", "jseg.models.segmentors.base.Segmentor"),
        ("jseg.models.backbones", "BACKBONES", "jseg.models.backbones.base.Backbone"),
        ("jseg.models.heads", "HEADS", "jseg.models.heads.base.Head"),
        ("jseg.models.losses", "LOSSES", "jseg.models.losses.base.Loss"),
        ("jseg.datasets", "DATASETS", "jseg.datasets.base.Dataset"),
        ("jseg.datasets", "TRANSFORMS", "jseg.datasets.transforms.Transform"),
        ("jseg.optim", "OPTIMIZERS", "jseg.optim.base.Optimizer"),
        ("jseg.optim", "SCHEDULERS", "jseg.optim.base.Schedule"),
    ],
)
def test_every_registry_of_the_package_has_a_contract(module, registry, name):
    with pytest.raises(ValueError, match=f"Plain.*{name}"):
        getattr(import_module(module), registry).register("Plain")(type("Plain", (), {}))
