"""What simulated raters are asked to do; a page imports this, so no numpy."""

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

TasteName = Literal["reasonable", "short", "warm"]
Population = Literal["clean", "crowd", "minority", "padded", "tied", "rankers", "patient", "coin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Who judges, and by what taste."""

    population: Population
    taste: TasteName = "reasonable"
    other_taste: TasteName = "short"  # of those robots that have another one


WORLDS = {
    "clean": World(population="clean"),
    "crowd": World(population="crowd"),
    "brief": World(population="crowd", taste="short"),
    "chatty": World(population="crowd", taste="warm"),
    "minority": World(population="minority"),
    "padded": World(population="padded"),
    "tied": World(population="tied"),
    "rankers": World(population="rankers"),
    "patient": World(population="patient"),
    "coin": World(population="coin"),
}
WorldName = Literal[
    "clean", "crowd", "brief", "chatty", "minority", "padded", "tied", "rankers", "patient", "coin"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """One run of robot raters at a server."""

    project: Annotated[str, "slug of the project to judge"]
    raters: Annotated[int, "how many robots"] = 20
    judgments: Annotated[int, "in total; 0 goes on until nothing is left"] = 0
    world: Annotated[WorldName, "names a taste and a population at once"] = "crowd"
    taste: Annotated[TasteName | None, "what the robots like; left out, the world's"] = None
    population: Annotated[Population | None, "how reliable they are; left out, the world's"] = None
    pace: Annotated[float, "1 takes the time that people take, 0 none"] = 0.0
    seed: Annotated[int, "draws the robots and their answers"] = 0
    base_url: Annotated[str, "address of the server"] = "http://127.0.0.1:8000"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.project:
            raise ValueError("project must name a project, not ''")
        if not 1 <= self.raters <= 1000:
            raise ValueError(f"raters must be 1 to 1000, not {self.raters}")
        if self.judgments < 0:
            raise ValueError(f"judgments must be 0 or more, not {self.judgments}")
        if not 0 <= self.pace <= 100:
            raise ValueError(f"pace must be 0 to 100, not {self.pace}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(f"base_url must be an http address, not {self.base_url!r}")

    def chosen(self) -> World:
        """The world, with what is said apart from it."""
        world = WORLDS[self.world]
        return World(
            population=self.population or world.population,
            taste=self.taste or world.taste,
            other_taste=world.other_taste,
        )
