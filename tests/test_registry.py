"""Names to constructors, and what is said about wrong ones."""

import re
from abc import abstractmethod

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


class Shape:
    @abstractmethod
    def area(self) -> float: ...

    @abstractmethod
    def name(self) -> str: ...


class Square(Shape):
    def area(self) -> float:
        return 1.0

    def name(self) -> str:
        return "square"


def make_square() -> Square:
    return Square()


def make_anything():
    return Square()


@pytest.fixture
def contracted() -> Registry:
    registry = Registry("shape")
    registry.require(Shape)
    return registry


def test_a_contract_takes_derived_classes_and_functions_that_say_they_make_one(contracted):
    contracted.register("Square")(Square)
    contracted.register("made")(make_square)
    assert contracted.names() == ["Square", "made"]


@pytest.mark.parametrize(
    "entry, named",
    [(dict, "Shape"), (make_anything, "Shape"), (type("Half", (Shape,), {"name": Square.name}), "area")],
)
def test_a_contract_refuses_what_does_not_fulfil_it(contracted, entry, named):
    with pytest.raises(ValueError, match=named):
        contracted.register("wrong")(entry)
    assert contracted.names() == []


def test_a_contract_that_comes_later_looks_at_what_is_there(shapes):
    with pytest.raises(ValueError, match="Box"):
        shapes.require(Shape)


@pytest.mark.parametrize(
    "registry, name, entry",
    [
        ("MODELS", "jseg.models.segmentors.base.Segmentor", "PlainModel"),
        ("DATASETS", "jseg.datasets.base.Dataset", "PlainData"),
        ("OPTIMIZERS", "jseg.optim.base.Optimizer", "PlainOptimizer"),
    ],
)
def test_segmentors_datasets_and_optimizers_have_contracts(registry, name, entry):
    import jseg.datasets
    import jseg.models.segmentors
    import jseg.optim  # noqa: F401
    from jseg import registry as module

    with pytest.raises(ValueError, match=f"{entry}.*{name}"):
        getattr(module, registry).register(entry)(type(entry, (), {}))
