"""What a replay asks for: traces, key files, and made-up traffic."""

from __future__ import annotations

import itertools
import lzma
import struct
from collections import Counter
from pathlib import Path

from examples.shop.replay import parser, plan_of
from examples.shop.seed import PRODUCTS
from examples.shop.trace import read_keys, read_trace, to_products, zipf


def test_a_trace_is_little_endian_32_bit_keys(tmp_path: Path) -> None:
    path = tmp_path / "some.trace.xz"
    path.write_bytes(lzma.compress(struct.pack("<4i", 7, -3, 7, 2_000_000_000)))

    assert list(read_trace(path)) == [7, -3, 7, 2_000_000_000]


def test_keys_become_products_in_order_of_appearance() -> None:
    assert list(to_products(["b", "a", "b", "c"])) == [1, 2, 1, 3]
    assert list(to_products([10, 20, 30, 10], products=2)) == [1, 2, 1, 1]


def test_a_key_file_may_hold_any_text(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("/index.html\n42\n/index.html\n", encoding="utf-8")

    assert list(to_products(read_keys(path))) == [1, 2, 1]


def test_made_up_traffic_is_skewed_and_the_same_for_the_same_seed() -> None:
    requests = list(itertools.islice(zipf(1.0, 1000), 20_000))
    counts = [count for _, count in Counter(requests).most_common()]

    assert requests == list(itertools.islice(zipf(1.0, 1000), 20_000))
    assert requests != list(itertools.islice(zipf(1.0, 1000, seed=2), 20_000))
    assert set(requests) <= set(range(1, 1001))
    # By the law, the first of 1,000 gets 13.4 % of the requests and the first hundred get 69 %.
    assert 0.12 < counts[0] / len(requests) < 0.15
    assert 0.66 < sum(counts[:100]) / len(requests) < 0.73


def test_a_trace_is_walked_once_and_made_up_traffic_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("a b c", encoding="utf-8")

    assert list(plan_of(parser().parse_args(["--keys", str(path)])).products) == [1, 2, 3]
    assert list(plan_of(parser().parse_args(["--keys", str(path), "--requests", "2"])).products) == [1, 2]
    assert len(list(plan_of(parser().parse_args([])).products)) == 10_000
    endless = plan_of(parser().parse_args(["--endless"])).products
    assert 1 <= list(itertools.islice(endless, 20_000))[-1] <= PRODUCTS
