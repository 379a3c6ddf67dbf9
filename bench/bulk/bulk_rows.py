"""The rows of the table: models, collections, contenders, and the bounds of their ratios."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Contender:
    """
    One way to label a collection.

    Attributes:
        name: `plain` for the loop by hand; `local`, `dask`, `ray` or `server` for `convoy bulk`.
        workers: Number of processes that label, and of processors that they may use; 0 is one for
            each processor.
        images: Size of the collection.
    """

    name: str
    workers: int = 1
    images: int = 1000


@dataclass(frozen=True)
class Row:
    """
    Contenders on one collection, each against the first.

    Attributes:
        bounds: Minimum ratio of images per second by the name of a contender, to the first one's.
        memory_bound: Largest ratio of the memory of the last contender to the first one's.
    """

    name: str
    title: str
    model: str
    contenders: tuple[Contender, ...]
    bounds: dict[str, float] = field(default_factory=dict)
    memory_bound: float | None = None

    def with_images(self, images: int) -> Row:
        """Return the row with another number of images, if it is one of ResNet-18."""
        # The rows of LeNet-5 are defined by their numbers.
        if not self.model.startswith("resnet18"):
            return self
        contenders = tuple(replace(one, images=images) for one in self.contenders)
        return replace(self, contenders=contenders)


def _engines(workers: int) -> tuple[Contender, ...]:
    return tuple(Contender(name, workers) for name in ("local", "dask", "ray"))


ROWS = (
    Row(
        "resnet18",
        "ResNet-18, JPEGs of 500x375, all processors",
        "resnet18",
        (Contender("plain", 0), Contender("local", 0)),
        {"local": 1.0},
    ),
    Row(
        "server",
        "the same, through a server",
        "resnet18",
        (Contender("local", 0), Contender("server", 0)),
        {"server": 0.9},
    ),
    Row(
        "engines",
        "the same on engines, one processor",
        "resnet18",
        _engines(1),
        {"dask": 0.9, "ray": 0.9},
    ),
    Row(
        "engines2",
        "the same on engines, two processors",
        "resnet18",
        _engines(2),
        {"dask": 0.85, "ray": 0.85},
    ),
    Row(
        "lenet5",
        "LeNet-5, 100,000 PNGs in Parquet, all processors",
        "lenet5",
        (Contender("plain", 0, 100_000), Contender("local", 0, 100_000)),
        {"local": 0.95},
    ),
    Row(
        "memory",
        "LeNet-5, memory with 10,000 rows and with 1,000,000",
        "lenet5",
        (Contender("local", images=10_000), Contender("local", images=1_000_000)),
        memory_bound=1.1,
    ),
    Row("int8", "ResNet-18 in int8, one processor", "resnet18_int8", (Contender("local"),)),
)
