"""Methods whose results are cached: an instance is an argument like others, and never dropped in silence."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from copy import deepcopy
from typing import Any, cast

import msgspec
import pytest
from pydantic import BaseModel

from stoker.core import CacheManager, SyncCacheManager, UsageError, cached, close_default_cache
from tests.managers import make_config, make_manager
from tests.servers import RedisServer

CALLS: list[Any] = []


class Opaque:
    @cached(backend="memory")
    async def load(self, number: int) -> int:
        return number

    @cached(backend="memory", ignore=["self"])
    async def shared(self, number: int) -> int:
        CALLS.append(("shared", number))
        return number

    @cached(backend="memory", key_params=["number"])
    async def named(self, number: int) -> int:
        CALLS.append(("named", number))
        return number


class Tenant:
    def __init__(self, name: str) -> None:
        self.name, self.connection = name, object()

    def __cache_key__(self) -> str:
        return self.name

    @cached(backend="memory")
    async def load(self, number: int, *, full: bool = False) -> str:
        """Load it."""
        CALLS.append((self.name, number, full))
        return f"{self.name} {number} {full}"

    @classmethod
    @cached(backend="memory")
    async def of_class(cls, number: int) -> str:
        CALLS.append((cls.__name__, number))
        return f"{cls.__name__} {number}"

    @staticmethod
    @cached(backend="memory")
    async def alone(number: int) -> int:
        CALLS.append(("alone", number))
        return number


class Customer(Tenant):
    pass


@dataclasses.dataclass
class Data:
    number: int
    session: object = dataclasses.field(default=None, compare=False)

    @cached(backend="memory")
    async def double(self) -> int:
        CALLS.append(self.number)
        return self.number * 2


class Struct(msgspec.Struct):
    number: int

    @cached(backend="memory")
    async def double(self) -> int:
        CALLS.append(self.number)
        return self.number * 2


class Model(BaseModel, ignored_types=(type(Data.double),)):
    number: int

    @cached(backend="memory")
    async def double(self) -> int:
        CALLS.append(self.number)
        return self.number * 2


@pytest.fixture(autouse=True)
def calls() -> list[Any]:
    CALLS.clear()
    return CALLS


async def test_an_instance_that_nothing_identifies_is_refused_at_the_call() -> None:
    with pytest.raises(
        UsageError, match=r"argument 'self' of Opaque.load: a Opaque can't be part of a key.*ignore"
    ):
        await Opaque().load(1)
    assert await Opaque().shared(1) == await Opaque().shared(1) == 1
    assert await Opaque().named(1) == await Opaque().named(1) == 1
    assert CALLS == [("shared", 1), ("named", 1)]
    await close_default_cache()


async def test_instances_are_told_apart_by_their_cache_key_and_their_class() -> None:
    one, other = Tenant("a"), Tenant("b")
    assert await one.load(1) == await Tenant("a").load(1) == "a 1 False"
    assert await other.load(1) == "b 1 False"
    assert await Customer("a").load(1) == "a 1 False"
    assert await one.load(1, full=True) == "a 1 True"
    assert CALLS == [("a", 1, False), ("b", 1, False), ("a", 1, False), ("a", 1, True)]
    await close_default_cache()


async def test_a_bound_method_has_its_instance_in_key_and_invalidation() -> None:
    one, other = Tenant("a"), Tenant("b")
    assert one.load.key(1) == Tenant.load.key(one, 1) != other.load.key(1)
    for tenant in (one, other):
        await tenant.load(1)
    assert (await one.load.invalidate(1)).acknowledged
    for tenant in (one, other):
        await tenant.load(1)
    assert CALLS == [("a", 1, False), ("b", 1, False), ("a", 1, False)]
    await other.load.invalidate_all()
    for tenant in (one, other):
        await tenant.load(1)
    assert len(CALLS) == 5
    await close_default_cache()


async def test_class_methods_are_told_apart_by_class_and_static_ones_are_functions() -> None:
    # Type checkers don't see through @classmethod and @staticmethod over what is no function.
    tenant, customer = cast("Any", Tenant), cast("Any", Customer)
    assert await tenant.of_class(1) == await tenant("x").of_class(1) == "Tenant 1"
    assert await customer.of_class(1) == "Customer 1"
    assert await tenant.alone(1) == await customer("x").alone(1) == 1
    assert CALLS == [("Tenant", 1), ("Customer", 1), ("alone", 1)]
    await close_default_cache()


@pytest.mark.parametrize("make", [Data, Struct, lambda number: Model(number=number)])
async def test_dataclasses_structs_and_models_are_told_apart_by_their_fields(make: Any) -> None:
    assert [await make(n).double() for n in (1, 1, 2)] == [2, 2, 4]
    assert CALLS == [1, 2]
    await close_default_cache()


async def test_fields_that_are_not_compared_tell_nothing_apart() -> None:
    assert await Data(1, object()).double() == await Data(1, object()).double() == 2
    assert CALLS == [1]
    await close_default_cache()


def test_methods_look_like_what_they_were() -> None:
    method = Tenant("a").load
    for found in (Tenant.load, method):
        assert inspect.iscoroutinefunction(found)
        assert inspect.isroutine(found)
        assert (found.__name__, found.__doc__) == ("load", "Load it.")
    assert list(inspect.signature(Tenant.load).parameters) == ["self", "number", "full"]
    assert list(inspect.signature(method).parameters) == ["number", "full"]
    assert repr(method).startswith(
        "<bound <cached function tests.integration.test_cached_methods.Tenant.load.v1>"
    )
    assert pickle.loads(pickle.dumps(Tenant.load)) is Tenant.load
    assert deepcopy(Tenant.load) is Tenant.load


@dataclasses.dataclass
class Account:
    number: int

    @cached(backend="memory")
    async def balance(self, day: int) -> int:
        return self.number + day

    @cached(backend="memory")
    def owner(self, day: int) -> int:
        return self.number * day


async def test_methods_of_an_instance_are_pickled_and_copied_with_it() -> None:
    account = Account(40)
    for copy in (pickle.loads(pickle.dumps(account.balance)), deepcopy(account.balance)):
        assert await copy(2) == 42
        assert copy.key(2) == account.balance.key(2)
    for plain in (pickle.loads(pickle.dumps(account.owner)), deepcopy(account.owner)):
        assert plain.key(2) == account.owner.key(2)
    await close_default_cache()


async def test_parameters_may_have_any_name() -> None:
    decorate: Any = cached(backend="memory")

    async def load(self: int, key: int, function: int = 0) -> list[int]:
        return [self, key, function]

    async def load_any(**given: int) -> dict[str, int]:
        return given

    loaded, loaded_any = decorate(load), decorate(load_any)
    assert await loaded(self=1, key=2) == await loaded(1, 2) == [1, 2, 0]
    assert loaded.key(self=1, key=2) == loaded.key(1, 2)
    assert (await loaded.invalidate(self=1, key=2)).acknowledged
    assert await loaded_any(self=1, args=2, kwargs=3) == {"self": 1, "args": 2, "kwargs": 3}
    balance: Any = Account.balance
    assert await balance(self=Account(1), day=5) == await Account(1).balance(5) == 6
    assert balance.key(self=Account(1), day=5) == Account(1).balance.key(5)
    await close_default_cache()


def test_a_method_of_an_instance_is_not_decorated_again() -> None:
    """Its key would not tell of which instance it is."""
    account, decorate = Account(1), cast("Any", cached(backend="memory"))
    methods: tuple[Any, ...] = account.balance, account.owner
    for method in methods:
        with pytest.raises(
            UsageError, match="bound to an instance, which no key would tell: decorate the met"
        ):
            decorate(method)


def test_the_order_of_decorators_is_checked() -> None:
    decorate: Any = cached(backend="memory")
    kinds: tuple[Any, ...] = staticmethod, classmethod
    for kind in kinds:
        with pytest.raises(UsageError, match=f"write @{kind.__name__} above"):
            decorate(kind(len))


async def test_methods_on_a_manager(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={}) as manager:
        await check_methods(manager)


async def check_methods(manager: CacheManager) -> None:
    @dataclasses.dataclass
    class Reader:
        name: str

        def __cache_key__(self) -> str:
            return self.name

        @cached(manager, "readers", cache_type="page")
        async def read(self, number: int) -> str:
            CALLS.append((self.name, number))
            return f"{self.name} {number}"

    assert await Reader("a").read(1) == await Reader("a").read(number=1) == "a 1"
    assert await Reader("b").read(1) == "b 1"
    assert (await Reader("a").read.invalidate(1)).acknowledged
    assert await Reader("a").read(1) == "a 1"
    assert CALLS == [("a", 1), ("b", 1), ("a", 1)]


def test_plain_methods(redis_server: RedisServer, prefix: str) -> None:
    with SyncCacheManager(make_config(redis_server, prefix, page={})) as face:

        @dataclasses.dataclass
        class Reader:
            name: str

            def __cache_key__(self) -> str:
                return self.name

            @cached(face, "readers", cache_type="page")
            def read(self, number: int) -> str:
                CALLS.append((self.name, number))
                return f"{self.name} {number}"

        one = Reader("a")
        assert one.read(1) == Reader("a").read(number=1) == "a 1"
        assert one.read.key(1) == Reader.read.key(one, 1)
        assert one.read.invalidate(1).acknowledged
        assert one.read(1) == "a 1"
        one.read.invalidate_all()
        assert one.read(1) == "a 1"
        assert CALLS == [("a", 1)] * 3
        assert repr(one.read).startswith("<bound <cached function readers:")
        assert not inspect.iscoroutinefunction(one.read)
