"""The fixtures that come with Stoker, in a user's own test runs."""

from __future__ import annotations

import sys

import pytest

from stoker.worker import pytest_plugin
from tests.pages import ROOT, example, table, text_of

pytest_plugins = ["pytester"]

IN_MEMORY = """
    import asyncio

    def test_without_a_plugin_for_asyncio(stoker_cache):
        async def check():
            assert await stoker_cache.get("session", "s1") is None
            await stoker_cache.set("session", "s1", {"user": 5})
            assert await stoker_cache.get("session", "s1") == {"user": 5}
            assert await stoker_cache.get_or_load("db_query", "k", load) == "loaded"

        async def load():
            return "loaded"

        asyncio.run(check())

    def test_each_test_has_its_own(stoker_cache):
        async def check():
            async with stoker_cache as cache:
                assert await cache.get("session", "s1") is None

        asyncio.run(check())
"""

WITH_ANYIO = """
    import pytest

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    @pytest.fixture
    async def users(stoker_cache):
        async with stoker_cache as cache:
            yield cache.cache("db_query", namespace="users")

    async def test_with_a_plugin(users):
        await users.set("5", {"name": "Ann"})
        assert await users.get("5") == {"name": "Ann"}
"""

CONFIGURED = """
    import asyncio
    import pytest
    from stoker.core import CacheConfig

    @pytest.fixture
    def stoker_config():
        return CacheConfig.model_validate({"types": {"price": {"ttl": "1m"}}})

    def test_types(stoker_cache):
        assert stoker_cache.policy("price").ttl == 60
        assert stoker_cache.policy("price").tiers == ("memory",)
"""

ON_A_SERVER = """
    import asyncio

    async def fill(cache):
        async with cache as cache:
            assert await cache.get("session", "s1") is None
            assert await cache.set("session", "s1", {"user": 5})
            assert (await cache.invalidate_type("db_query")).acknowledged
            return cache.keys.prefix

    prefixes = []

    def test_one(stoker_redis_cache):
        prefixes.append(asyncio.run(fill(stoker_redis_cache)))

    def test_another(stoker_redis_cache):
        prefixes.append(asyncio.run(fill(stoker_redis_cache)))
        assert len(set(prefixes)) == 2

    def test_nothing_is_left(stoker_server):
        from redis import Redis

        with Redis.from_url(stoker_server) as client:
            assert client.dbsize() == 0
"""


@pytest.fixture
def runs(pytester: pytest.Pytester) -> pytest.Pytester:
    """Runs of pytest in a folder of their own, with warnings as errors."""
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    return pytester


@pytest.mark.parametrize("program", [IN_MEMORY, WITH_ANYIO, CONFIGURED], ids=["plain", "anyio", "configured"])
def test_a_cache_in_memory(runs: pytest.Pytester, program: str) -> None:
    runs.makepyfile(program)
    result = runs.runpytest_subprocess("-q")

    assert result.ret == 0, result.stdout.str()
    assert "skipped" not in result.stdout.str()


def test_a_cache_on_a_real_server(runs: pytest.Pytester) -> None:
    runs.makepyfile(ON_A_SERVER)

    runs.runpytest_subprocess("-q").assert_outcomes(passed=3)


def test_a_server_that_is_given_is_used(
    runs: pytest.Pytester, redis_server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = redis_server.url  # type: ignore[attr-defined]  # a fixture
    monkeypatch.setenv("STOKER_TEST_URL", url)
    runs.makepyfile(f"def test_url(stoker_server): assert stoker_server == {url!r}")

    runs.runpytest_subprocess("-q").assert_outcomes(passed=1)


def test_without_a_server_the_tests_are_skipped_with_the_reason(
    runs: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOKER_SERVER", "/no/such/server")
    monkeypatch.delenv("STOKER_TEST_URL", raising=False)
    runs.makepyfile(ON_A_SERVER)
    result = runs.runpytest_subprocess("-q", "-rs")

    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(["*STOKER_SERVER*no program*"])


def test_without_the_client_the_tests_are_skipped_with_the_reason(runs: pytest.Pytester) -> None:
    runs.makeconftest("import sys\n\nsys.modules['redis'] = None\n")
    runs.makepyfile(
        """
        def test_on_a_server(stoker_redis_cache): ...

        def test_in_memory(stoker_cache): ...
        """
    )
    result = runs.runpytest_subprocess("-q", "-rs", "-p", "no:valkey", "-p", "no:celery")

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*pip install 'stoker[[]redis]'*"])


def test_unused_it_imports_nothing(runs: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others import what they like
    runs.makepyfile(
        """
        import sys

        def test_nothing_was_imported(request):
            assert request.config.pluginmanager.hasplugin("stoker.worker.pytest_plugin")
            heavy = {"stoker.core", "stoker.worker.embedded", "redis", "msgspec", "pydantic"}
            assert not heavy & set(sys.modules)
        """
    )
    runs.runpytest_subprocess("-q", "-p", "stoker.worker.pytest_plugin").assert_outcomes(passed=1)


def test_it_can_be_turned_off(runs: pytest.Pytester) -> None:
    runs.makepyfile(IN_MEMORY)
    result = runs.runpytest_subprocess("-q", "-p", "no:stoker")

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*fixture 'stoker_cache' not found*"])


def test_coverage_sees_what_is_imported_after_it(runs: pytest.Pytester) -> None:
    """A plugin that imports what is to be measured hides its import-time lines from coverage."""
    runs.makepyfile(
        mine="value = 1\n",
        test_mine="""
            import asyncio
            import mine

            def test_it(stoker_cache):
                assert asyncio.run(stoker_cache.set("session", "k", mine.value))
        """,
    )
    core = "stoker.core.errors"
    result = runs.runpytest_subprocess("-q", "--cov=mine", f"--cov={core}", "--cov-report=term")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*mine.py*100%*"])
    assert "100%" in next(line for line in result.outlines if "errors.py" in line)


def test_a_contract_tells_what_was_compared(runs: pytest.Pytester) -> None:
    runs.makeconftest("from stoker.core.testing import CacheContract\n")
    runs.makepyfile(
        """
        from stoker.core import CacheConfig, CacheManager
        from stoker.core.testing import CacheContract

        class Forgetful:
            def __init__(self, cache):
                self.cache = cache

            def __getattr__(self, name):
                return getattr(self.cache, name)

            async def get(self, key, default=None, **options):
                return "something else"

        class TestForgetful(CacheContract):
            async def make(self, namespace):
                config = CacheConfig.model_validate({"redis": {"enabled": False}})
                return Forgetful(CacheManager(config).cache("db_query", namespace=namespace))
        """
    )
    result = runs.runpytest_subprocess("-q", "-k", "replaces")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the last value counts*", "*assert 'something else' == {'two': 2}*"])


def test_a_contract_that_was_imported_before_is_no_trouble(runs: pytest.Pytester) -> None:
    runs.makepyfile("def test_it(stoker_cache): ...")
    program = "import stoker.core.testing, pytest; raise SystemExit(pytest.main(['-q', '-W', 'error']))"
    result = runs.run(sys.executable, "-c", program)

    assert result.ret == 0, result.stdout.str() + result.stderr.str()


def test_it_is_found_where_stoker_is_installed() -> None:
    from importlib.metadata import entry_points

    assert {point.value for point in entry_points(group="pytest11", name="stoker")} == {
        "stoker.worker.pytest_plugin"
    }
    assert "stoker.worker.pytest_plugin" in sys.modules


def test_the_page_on_testing_is_right(runs: pytest.Pytester) -> None:
    page = text_of("testing.md")
    store = (ROOT / "tests" / "shelves.py").read_text(encoding="utf-8").replace("DictStore", "MyStore")
    runs.makepyfile(
        test_plain=example(page, "plain"),
        test_plugin=example(page, "plugin")
        + "\n\n@pytest.fixture(autouse=True)\ndef mode(anyio_backend): pass\n"
        "\n\npytestmark = pytest.mark.anyio\n\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n",
        test_contract="from mystore import MyStore, Shelf\n" + example(page, "contract"),
        mystore=store,
    )
    result = runs.runpytest_subprocess("-q")

    assert result.parseoutcomes() == {"passed": 2 + 39}, result.stdout.str()


def test_the_page_on_testing_names_the_fixtures(pytestconfig: pytest.Config) -> None:
    documented = {row[0].strip("`") for row in table(text_of("testing.md"), "fixture")}

    assert documented == {name for name in vars(pytest_plugin) if name.startswith("stoker_")}
