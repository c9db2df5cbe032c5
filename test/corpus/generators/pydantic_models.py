"""Models as people write them for tools and answers: what pydantic makes of them, and what openai, instructor and
LangChain make of the same models."""

from __future__ import annotations

import datetime as dt
import ipaddress
import uuid
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Dict, FrozenSet, Generic, List, Literal, NamedTuple, Optional, Set, Tuple, TypeVar, Union

import corpus_file
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    EmailStr,
    Field,
    HttpUrl,
    Json,
    JsonValue,
    PositiveInt,
    RootModel,
    SecretStr,
    StringConstraints,
    Tag,
    Discriminator,
    TypeAdapter,
    computed_field,
    conint,
    conlist,
    constr,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic.dataclasses import dataclass
from typing_extensions import NotRequired, TypedDict


class GetWeather(BaseModel):
    """Get the weather of a city."""

    city: str
    unit: Literal["celsius", "fahrenheit"] = "celsius"
    days: int = Field(default=1, ge=1, le=16, description="How many days to forecast")


class Colour(str, Enum):
    red = "red"
    green = "green"
    blue = "blue"


class Priority(IntEnum):
    low = 1
    normal = 2
    high = 3


class Ticket(BaseModel):
    title: str = Field(min_length=1, max_length=80)
    priority: Priority = Priority.normal
    labels: Set[str] = set()
    assignee: Optional[str] = None
    due: Optional[dt.date] = None
    parent: Ticket | None = None


class Address(BaseModel):
    street: str
    city: str
    postcode: Annotated[str, StringConstraints(pattern=r"^\d{5}$")]
    country: str = Field("DE", min_length=2, max_length=2)


class Person(BaseModel):
    name: str
    age: Annotated[int, Field(ge=0, le=130)]
    email: Optional[EmailStr] = None
    addresses: List[Address] = Field(default_factory=list, max_length=3)
    favourite: Colour = Colour.red


class Money(BaseModel):
    amount: Decimal = Field(max_digits=10, decimal_places=2)
    currency: Literal["EUR", "USD", "GBP"]


class LineItem(BaseModel):
    sku: str = Field(pattern=r"^[A-Z]{3}-[0-9]{4}$")
    quantity: PositiveInt
    price: Money


class Invoice(BaseModel):
    id: uuid.UUID
    issued: dt.datetime
    lines: List[LineItem] = Field(min_length=1)
    discount: float = Field(0.0, ge=0, lt=1)
    notes: str | None = None

    @computed_field
    @property
    def total(self) -> Decimal:
        return sum((line.price.amount * line.quantity for line in self.lines), Decimal(0))


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: List[str] = []


class Fish(BaseModel):
    kind: Literal["fish"]
    litres: float = Field(gt=0)


class Owner(BaseModel):
    name: str
    pet: Annotated[Union[Cat, Dog, Fish], Field(discriminator="kind")]


class Zoo(BaseModel):
    animals: List[Annotated[Union[Cat, Dog, Fish], Field(discriminator="kind")]]
    by_name: Dict[str, Union[Cat, Dog]] = {}


class Loose(BaseModel):
    value: Union[int, str, float, bool, None]
    anything: Any
    any_default: Any = None
    data: dict = {}
    items: list = []


class Node(BaseModel):
    value: int
    children: List[Node] = []


class Expression(BaseModel):
    operator: Literal["+", "-", "*", "/"]
    left: Union[Expression, float]
    right: Union[Expression, float]


class Times(BaseModel):
    at: dt.datetime
    on: dt.date
    clock: dt.time
    wait: dt.timedelta
    aware: dt.datetime | None = None


class Web(BaseModel):
    page: HttpUrl
    any_url: AnyUrl | None = None
    ip4: ipaddress.IPv4Address
    ip: Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
    secret: SecretStr
    blob: bytes = b""


class Tuples(BaseModel):
    point: Tuple[float, float]
    named: Tuple[str, int, bool] = ("a", 1, True)
    many: Tuple[int, ...] = ()
    unique: FrozenSet[int] = frozenset()
    three: conlist(int, min_length=3, max_length=3)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    command: Literal["view", "create", "str_replace"]
    path: str = Field(pattern=r"^/")
    text: Optional[str] = Field(None, max_length=1000)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    from_: str = Field(alias="from")
    class_: str = Field(alias="class")
    schema_version: int = Field(1, serialization_alias="schemaVersion")


class Counts(BaseModel):
    counts: Dict[str, int]
    by_colour: Dict[Colour, float] = {}
    by_code: Dict[constr(pattern=r"^[a-z]{2}$"), str] = {}
    by_number: Dict[int, str] = {}


class Numbers(BaseModel):
    even: int = Field(multiple_of=2)
    cent: float = Field(multiple_of=0.01)
    positive: float = Field(gt=0)
    byte: conint(ge=0, le=255)
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    exact: Decimal
    bounded: Decimal = Field(ge=0, le=Decimal("99.5"))


class Texts(BaseModel):
    slug: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", max_length=40)]
    hexadecimal: Annotated[str, StringConstraints(pattern=r"^#?[0-9A-Fa-f]{6}$")]
    short: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5)]
    unanchored: str = Field(pattern=r"\d+")
    embedded: Json[List[int]]
    json_value: JsonValue = None


class Answer(BaseModel):
    """An answer with its reasons."""

    reasoning: str = Field(description="Step by step")
    answer: str
    confidence: Annotated[float, Field(ge=0, le=1)]
    sources: List[HttpUrl] = []


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: List[T]
    next: Optional[int] = None


class Hidden(BaseModel):
    name: str
    internal: SkipJsonSchema[Optional[int]] = None
    old: int = Field(0, deprecated=True)
    example: str = Field("x", examples=["a", "b"], json_schema_extra={"x-order": 3})


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


@dataclass
class Job:
    command: List[str]
    env: Dict[str, str]
    timeout: Optional[float] = 30.0


class Step(NamedTuple):
    name: str
    seconds: float = 1.0


class Tags(RootModel[List[str]]):
    pass


class FlatMap(RootModel[Dict[str, Optional[int]]]):
    pass


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "number"


class Callable_(BaseModel):
    value: Annotated[
        Union[Annotated[str, Tag("text")], Annotated[int, Tag("number")]], Discriminator(_kind)
    ]


class SearchFlights(BaseModel):
    origin: str = Field(..., min_length=3, max_length=3, pattern="^[A-Z]{3}$", description="IATA code")
    destination: str = Field(..., min_length=3, max_length=3, pattern="^[A-Z]{3}$")
    depart: dt.date
    back: Optional[dt.date] = None
    passengers: int = Field(1, ge=1, le=9)
    cabin: Literal["economy", "premium", "business", "first"] = "economy"
    stops: Optional[Literal[0, 1, 2]] = None


class Mixed(BaseModel):
    flag: Literal[True]
    code: Literal[200, 404, "unknown", None]
    both: Union[Literal["all"], List[int]] = "all"


models = [
    GetWeather, Ticket, Person, Money, Invoice, Owner, Zoo, Loose, Node, Expression, Times, Web, Tuples, Strict, Open,
    Aliased, Counts, Numbers, Texts, Answer, Page[Person], Hidden, Tags, FlatMap, Callable_, SearchFlights, Mixed,
]
adapters = {
    "list of int": List[int],
    "TypedDict": Movie,
    "dataclass": Job,
    "NamedTuple": Step,
    "discriminated union": Annotated[Union[Cat, Dog], Field(discriminator="kind")],
    "plain union": Union[Person, List[Person], None],
    "dict of lists": Dict[str, List[Optional[dt.date]]],
    "literal": Literal["yes", "no", "maybe"],
    "constrained int": Annotated[int, Field(gt=0, lt=100)],
}
tools = {"GetWeather", "Ticket", "Strict", "SearchFlights", "Loose", "Counts", "Hidden", "Texts"}


def own():
    for model in models:
        kind = "tool" if model.__name__ in tools else "output"
        validation = model.model_json_schema()
        yield model.__name__, kind, False, validation
        serialization = model.model_json_schema(mode="serialization")
        if serialization != validation:
            yield f"{model.__name__}, serialization", kind, False, serialization
    for name, type_ in adapters.items():
        yield f"TypeAdapter: {name}", "output", False, TypeAdapter(type_).json_schema()
    yield "Aliased, by fields' names", "output", False, Aliased.model_json_schema(by_alias=False)


def of_openai():
    import openai
    from openai.lib._pydantic import to_strict_json_schema

    for model in models:
        try:
            tool = openai.pydantic_function_tool(model)["function"]
        except (TypeError, ValueError):
            continue  # Its schema cannot be made strict.
        yield model.__name__, "tool", tool.get("strict", False), tool["parameters"]
    yield "Expression, response format", "output", True, to_strict_json_schema(Expression)
    yield "Invoice, response format", "output", True, to_strict_json_schema(Invoice)


def of_instructor():
    from instructor.processing.schema import generate_openai_schema

    for model in [GetWeather, Person, Invoice, Owner, Texts, Answer, Counts]:
        yield model.__name__, "tool", False, generate_openai_schema(model)["parameters"]


def of_langchain():
    from langchain_core.tools import StructuredTool, tool
    from langchain_core.utils.function_calling import convert_to_openai_tool

    @tool
    def multiply(a: int, b: int) -> int:
        """Multiply two numbers."""
        return a * b

    @tool(parse_docstring=True)
    def search(query: str, limit: int = 10, tags: Optional[List[str]] = None, since: Optional[dt.date] = None) -> str:
        """Search the notes.

        Args:
            query: What to look for.
            limit: How many at most.
            tags: Only notes with these tags.
            since: Only notes since that day.
        """
        return query

    @tool
    def run(command: Union[str, List[str]], env: Dict[str, str], mode: Literal["fast", "safe"] = "safe") -> str:
        """Run a command."""
        return str(command)

    @tool
    def now() -> str:
        """The time."""
        return ""

    for one in [multiply, search, run, now]:
        yield one.name, "tool", False, convert_to_openai_tool(one)["function"]["parameters"]
        strict = convert_to_openai_tool(one, strict=True)["function"]
        yield f"{one.name}, strict", "tool", True, strict["parameters"]
    for model in [Ticket, Owner, Invoice, Times]:
        yield model.__name__, "tool", False, convert_to_openai_tool(model)["function"]["parameters"]


def functions():
    """Functions that become tools by their signatures."""

    def book(origin: str, destination: str, seats: int = 1, classes: list[Literal["eco", "first"]] | None = None) -> str:
        """Book a journey.

        Args:
            origin: Where from.
            destination: Where to.
            seats: How many.
            classes: Which.
        """
        return ""

    def store(key: str, value: JsonValue, expires: dt.datetime | None = None, tags: set[str] = set()) -> None:
        """Store a value."""

    def move(to: Tuple[float, float], speed: Annotated[float, Field(gt=0, le=10)] = 1.0, via: list[Step] = []) -> None:
        """Move the arm."""

    def ask(person: Person, pet: Cat | Dog, colours: dict[str, Colour]) -> str:
        """Ask a person."""
        return ""

    return [book, store, move, ask]


def of_pydantic_ai():
    from pydantic_ai import Tool

    for function in functions():
        definition = Tool(function).tool_def
        yield function.__name__, "tool", bool(definition.strict), definition.parameters_json_schema
    from pydantic_ai.profiles.openai import OpenAIJsonSchemaTransformer

    for model in [Ticket, Invoice, Owner, Counts, Tuples]:
        schema = OpenAIJsonSchemaTransformer(model.model_json_schema(), strict=True).walk()
        yield f"{model.__name__}, strict", "output", True, schema


def of_agents():
    from agents import AgentOutputSchema, function_tool

    for function in functions():
        for strict in [True, False]:
            try:
                tool = function_tool(function, strict_mode=strict)
            except Exception as error:
                print(f"openai-agents refuses {function.__name__}: {type(error).__name__}")
                continue
            name = f"{function.__name__}, strict" if strict else function.__name__
            yield name, "tool", strict, tool.params_json_schema
    for type_ in [Person, Answer, List[int]]:
        yield f"output {getattr(type_, '__name__', type_)}", "output", True, AgentOutputSchema(type_).json_schema()


if __name__ == "__main__":
    corpus_file.write("pydantic", "pydantic", own())
    corpus_file.write("openai-python", "openai", of_openai())
    corpus_file.write("instructor", "instructor", of_instructor())
    corpus_file.write("langchain", "langchain-core", of_langchain())
    corpus_file.write("pydantic-ai", "pydantic-ai-slim", of_pydantic_ai())
    corpus_file.write("openai-agents", "openai-agents", of_agents())
